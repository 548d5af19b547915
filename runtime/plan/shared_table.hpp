// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace troupe::plan {

/// Numbered rows whose copies share memory: sharing costs a pointer for many rows, and the first
/// change to some of them afterwards copies these few. What was shared may be read on any thread
/// while the table goes on.
template <class Row>
class shared_table {
public:
  /// For another thread. Both can be changed without the other seeing it.
  shared_table share() {
    for (auto& each : chunks_)
      each.own = false;
    return *this;
  }

  std::uint32_t size() const { return static_cast<std::uint32_t>(chunks_.size() * chunk_rows); }
  const Row& operator[](std::uint32_t row) const {
    return (*chunks_[row / chunk_rows].at)[row % chunk_rows];
  }

  /// The row, to be changed; there from now on.
  Row& change(std::uint32_t row) {
    while (row >= size())
      chunks_.push_back({std::make_shared<rows>(), true});
    auto& here = chunks_[row / chunk_rows];
    if (!here.own)
      here = {std::make_shared<rows>(*here.at), true};
    return (*here.at)[row % chunk_rows];
  }

private:
  static constexpr std::size_t chunk_rows = 128;
  using rows = std::array<Row, chunk_rows>;
  struct chunk {
    std::shared_ptr<rows> at;
    bool own = true; ///< nobody else has it
  };
  std::vector<chunk> chunks_;
};

/// Numbers for rows, given back ones first.
class row_numbers {
public:
  std::uint32_t take() {
    if (free_.empty())
      return next_++;
    auto row = free_.back();
    free_.pop_back();
    return row;
  }
  void give(std::uint32_t row) { free_.push_back(row); }
  /// More than any that was given.
  std::uint32_t end() const { return next_; }

private:
  std::vector<std::uint32_t> free_;
  std::uint32_t next_ = 0;
};

} // namespace troupe::plan
