// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/output.hpp"

#include "tools/troupe/command.hpp"

#include <unistd.h>
#include <utility>

namespace troupe::cli {

namespace {

// A labelled line longer than this is written in parts.
constexpr std::size_t line_bytes_max = 64 * 1024;

int descriptor_of(bool error_stream) {
  return error_stream ? STDERR_FILENO : STDOUT_FILENO;
}

} // namespace

output_writer::outcome output_writer::write(const calls::follow::piece& piece) {
  stream which{piece.step, piece.rank, piece.error_stream};
  auto& of = streams_[which];
  std::string_view text{reinterpret_cast<const char*>(piece.data.data()), piece.data.size()};
  auto end = piece.offset + text.size();
  if (end <= of.offset)
    return outcome::written;
  bool gap = piece.offset > of.offset;
  if (!gap)
    text.remove_prefix(of.offset - piece.offset);
  of.offset = end;
  if (!emit(which, of, text))
    return outcome::nobody_reads;
  return gap ? outcome::gap : outcome::written;
}

/// "3: "; of a rank that was spawned "1.3: ", after its step.
std::string output_writer::label_of(const stream& which) {
  const auto& [step, rank, error_stream] = which;
  return (step == 0 ? "" : std::to_string(step) + ".") + std::to_string(rank) + ": ";
}

bool output_writer::emit(stream which, progress& of, std::string_view text) {
  auto fd = descriptor_of(std::get<2>(which));
  if (!label_)
    return write_all(fd, text);
  auto label = label_of(which);
  std::string out;
  while (!text.empty()) {
    auto newline = text.find('\n');
    bool whole = newline != std::string_view::npos;
    of.line += text.substr(0, whole ? newline : text.size());
    text.remove_prefix(whole ? newline + 1 : text.size());
    if (whole || of.line.size() > line_bytes_max) {
      out += label + of.line + "\n";
      of.line.clear();
    }
  }
  return write_all(fd, out);
}

bool output_writer::begin_run(std::uint32_t incarnation) {
  const auto before = std::exchange(incarnation_, incarnation);
  if (before == 0 || before == incarnation)
    return false;
  finish();
  streams_.clear();
  return true;
}

void output_writer::finish() {
  for (auto& [which, of] : streams_)
    if (!of.line.empty())
      write_all(descriptor_of(std::get<2>(which)),
                label_of(which) + std::exchange(of.line, {}) + "\n");
}

std::vector<calls::stream_position> output_writer::positions() const {
  std::vector<calls::stream_position> result;
  for (const auto& [which, of] : streams_)
    result.push_back({std::get<1>(which), std::get<2>(which), of.offset, std::get<0>(which)});
  return result;
}

} // namespace troupe::cli
