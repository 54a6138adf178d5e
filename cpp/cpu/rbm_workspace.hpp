// The memory of the Boltzmann machines' kernels.
#pragma once

#include <mutex>
#include <vector>

#include "core/buffer.hpp"
#include "core/parallel.hpp"
#include "cpu/propagation.hpp"
#include "kernels/gibbs.hpp"

namespace thalweg::cpu {

// The visible states of all phases at the units of one word: per unit the rows that are not zero.
template <class T>
class UnitLists {
 public:
  void reset(Index rows) {
    rows_ = rows;
    at_least(indices_, word_units * rows);
    at_least(values_, word_units * rows);
    std::fill_n(count_, word_units, Index{0});
  }

  void add(Index unit, Index row, T value) {
    const Index at = unit * rows_ + count_[unit]++;
    indices_[at] = static_cast<std::uint32_t>(row);
    values_[at] = value;
  }

  [[nodiscard]] Index rows() const { return rows_; }
  [[nodiscard]] Index count(Index unit) const { return count_[unit]; }
  [[nodiscard]] const std::uint32_t* indices(Index unit) const { return indices_.data() + unit * rows_; }
  [[nodiscard]] const T* values(Index unit) const { return values_.data() + unit * rows_; }

 private:
  Buffer<std::uint32_t> indices_;
  Buffer<T> values_;
  Index rows_ = 0;
  Index count_[word_units] = {};
};

template <class T>
struct StatisticsScratch {
  UnitLists<T> lists;
  Buffer<T> dense;  // (units of a word, rows)
};

}  // namespace thalweg::cpu

namespace thalweg {

template <class T>
struct RbmWorkspace<T>::Memory {
  std::mutex mutex;
  cpu::PreparedRows<T> prepared;
  std::vector<cpu::PropagationScratch<T>> propagation;  // one a worker
  std::vector<cpu::StatisticsScratch<T>> statistics;    // one a worker
  Buffer<T> hidden_panels;
  Buffer<T> row_weights;

  // Makes room for every worker that `n_jobs` stands for.
  void reserve_workers(int n_jobs) {
    const auto workers = static_cast<std::size_t>(thread_count(n_jobs));
    while (propagation.size() < workers) propagation.emplace_back();
    while (statistics.size() < workers) statistics.emplace_back();
  }
};

}  // namespace thalweg
