// Exceptions of the core. The final message is composed where the fault is found; pybind11 turns
// std::invalid_argument into ValueError.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace thalweg {

// A user's interrupt (Ctrl-C) seen by a running kernel.
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

template <class... Parts>
[[nodiscard]] std::string join(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

// Throws std::invalid_argument with the joined parts unless `ok`.
template <class... Parts>
void require(bool ok, const Parts&... parts) {
  if (!ok) throw std::invalid_argument(join(parts...));
}

}  // namespace thalweg
