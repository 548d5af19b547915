// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace troupe::varlink {

/// The longest frame a peer may send, without its NUL.
inline constexpr std::size_t frame_bytes_max = 4 * 1024 * 1024;

/// Cuts a byte stream into frames at NUL bytes. A frame that arrives whole is never copied; memory
/// is bounded by one frame, and by what is kept while the owner is not ready for more.
class frame_reader {
public:
  /// Called with each frame, valid during the call only. False: take no more now.
  using on_frame = std::function<bool(std::string_view frame)>;

  explicit frame_reader(std::size_t limit_bytes = frame_bytes_max) : limit_bytes_{limit_bytes} {}

  /// Takes what arrived and hands out the frames it completes. Answers whether all of them were
  /// handed out; if not, the rest is kept and the owner should stop reading until it has called
  /// `resume`. An error is final: the peer sent a frame over the limit, or the owner went on
  /// reading with more than a frame kept.
  expected<bool> feed(std::string_view bytes, const on_frame& handle);

  /// Goes on with what was kept when `handle` last said false. Called from within `handle` it does
  /// nothing and answers false: the frames go on when `handle` returns.
  expected<bool> resume(const on_frame& handle) { return feed({}, handle); }

  /// Bytes kept: the beginning of an unfinished frame, and frames that wait for `resume`.
  std::size_t kept_bytes() const { return kept_.size() - head_; }

private:
  expected<bool> feed_outermost(std::string_view bytes, const on_frame& handle);
  expected<bool> deliver(std::string_view& bytes, const on_frame& handle);
  expected<bool> feed_kept(std::string_view bytes, const on_frame& handle);
  tl::unexpected<error> oversize(std::size_t size) const;
  void keep(std::string_view rest);

  std::size_t limit_bytes_;
  std::string kept_;
  std::size_t head_ = 0;
  bool paused_ = false;
  bool delivering_ = false;
};

} // namespace troupe::varlink
