// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace troupe::plan {

/// Which GPUs of one node are free, and which of them to hand out: those near the task's cores
/// first, then the lowest numbers. The same calls give the same GPUs everywhere.
class gpu_map {
public:
  gpu_map() = default;
  /// All free; one group per GPU, at most 64.
  explicit gpu_map(std::span<const std::uint32_t> groups)
      : groups_(groups.begin(), groups.end()),
        bits_(groups.size() == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << groups.size()) - 1) {}

  std::uint32_t count() const { return static_cast<std::uint32_t>(groups_.size()); }
  std::uint32_t free() const { return static_cast<std::uint32_t>(std::popcount(bits_)); }
  bool is_free(std::uint32_t gpu) const { return gpu < count() && (bits_ >> gpu & 1) != 0; }

  /// Appends `wanted` GPUs for one task whose cores are in `group`, and takes them. At least so
  /// many must be free.
  void take(std::uint32_t wanted, std::uint32_t group, std::vector<std::uint16_t>& out) {
    for (bool near : {true, false})
      for (auto left = bits_; left != 0 && wanted > 0; left &= left - 1) {
        auto gpu = static_cast<std::uint16_t>(std::countr_zero(left));
        if (near && groups_[gpu] != group)
          continue;
        bits_ &= ~(std::uint64_t{1} << gpu);
        out.push_back(gpu);
        --wanted;
      }
  }

  /// Each must be free, or taken.
  void take_exactly(std::span<const std::uint16_t> gpus) {
    for (auto gpu : gpus)
      bits_ &= ~(std::uint64_t{1} << gpu);
  }
  void give(std::span<const std::uint16_t> gpus) {
    for (auto gpu : gpus)
      bits_ |= std::uint64_t{1} << gpu;
  }

private:
  std::vector<std::uint32_t> groups_;
  std::uint64_t bits_ = 0;
};

} // namespace troupe::plan
