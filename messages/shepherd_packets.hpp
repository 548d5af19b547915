// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"

#include <vector>

// How frames travel between agent and shepherd: as packets of a SOCK_SEQPACKET socket,
// { u32 bytes of the frame, u32 offset of this part, part }, little-endian. Packets, not a stream:
// trouped may be killed while it reads or writes, and its successor gets the same socket. A stream
// would then be in the middle of a frame for good; here the rest of a torn frame is recognised by
// its offset and dropped.

namespace troupe::shepherd {

inline constexpr std::size_t packet_head_bytes = 8;
inline constexpr std::size_t packet_bytes_max = 61'440;
inline constexpr std::size_t frame_bytes_max = 16u << 20;

/// Appends the packets of one frame, in the order they are to be sent in.
void packets_of(byte_view frame, std::vector<std::vector<std::uint8_t>>& out);

/// Puts frames together again.
class packet_reader {
public:
  /// Takes one packet; true when it completed a frame, which `frame()` then shows until the next.
  expected<bool> take(byte_view packet);
  byte_view frame() const { return frame_; }

private:
  std::vector<std::uint8_t> frame_;
  std::size_t total_ = 0;
};

} // namespace troupe::shepherd
