// SPDX-License-Identifier: Apache-2.0
#include "messages/shepherd.hpp"

#include "messages/shepherd_packets.hpp"

#include <algorithm>

namespace troupe::shepherd {

const char* to_string(mpi_kind kind) {
  switch (kind) {
  case mpi_kind::pmix: return "pmix";
  case mpi_kind::pmi1: return "pmi1";
  case mpi_kind::rte: return "rte";
  }
  return "unknown";
}

bool from_string(std::string_view text, mpi_kind& kind) {
  for (auto each : {mpi_kind::pmix, mpi_kind::pmi1, mpi_kind::rte})
    if (text == to_string(each)) {
      kind = each;
      return true;
    }
  return false;
}

const char* to_string(log_channel channel) {
  switch (channel) {
  case log_channel::standard_output: return "standard_output";
  case log_channel::standard_error: return "standard_error";
  case log_channel::job: return "job";
  }
  return "unknown";
}

bool from_string(std::string_view text, log_channel& channel) {
  for (auto each : {log_channel::standard_output, log_channel::standard_error, log_channel::job})
    if (text == to_string(each)) {
      channel = each;
      return true;
    }
  return false;
}

void packets_of(byte_view frame, std::vector<std::vector<std::uint8_t>>& out) {
  std::size_t offset = 0;
  do {
    const auto length = std::min(frame.size() - offset, packet_bytes_max - packet_head_bytes);
    std::vector<std::uint8_t> packet(packet_head_bytes + length);
    store_le(packet.data(), static_cast<std::uint32_t>(frame.size()));
    store_le(packet.data() + 4, static_cast<std::uint32_t>(offset));
    if (length != 0)
      std::memcpy(packet.data() + packet_head_bytes, frame.data() + offset, length);
    out.push_back(std::move(packet));
    offset += length;
  } while (offset < frame.size());
}

expected<bool> packet_reader::take(byte_view packet) {
  if (packet.size() < packet_head_bytes)
    return fail(errc::invalid, "a packet of " + std::to_string(packet.size()) +
                                   " bytes is too short to be part of a frame");
  const auto total = load_le<std::uint32_t>(packet.data());
  const auto offset = load_le<std::uint32_t>(packet.data() + 4);
  const auto part = packet.subspan(packet_head_bytes);
  if (total > frame_bytes_max || offset > total || part.size() > total - offset)
    return fail(errc::invalid, "a packet says it is part of a frame of " + std::to_string(total) +
                                   " bytes, which is not possible");
  if (offset == 0) {
    frame_.clear();
    total_ = total;
  } else if (offset != frame_.size() || total != total_) {
    frame_.clear(); // the rest of a frame whose beginning somebody else took
    total_ = 0;
    return false;
  }
  frame_.insert(frame_.end(), part.begin(), part.end());
  return frame_.size() == total_;
}

} // namespace troupe::shepherd
