// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/shepherd/poller.hpp"

#include <deque>
#include <string>
#include <string_view>

namespace troupe::shepherd {

/// A rank's standard output or error, for what it logs through PMIx: the text lands where the
/// rank's own words land. Nobody is kept waiting here: what a full pipe does not take waits.
class rank_output {
public:
  using written = std::function<void(bool good)>;

  rank_output(poller& poll, unique_fd lent);
  rank_output(const rank_output&) = delete;
  rank_output& operator=(const rank_output&) = delete;
  ~rank_output();

  /// `done` is called when the last byte is written, or will not be.
  void write(std::string_view text, written done);

private:
  static constexpr std::size_t waiting_bytes_max = 1u << 20;

  struct piece {
    std::string text;
    std::size_t sent = 0;
    written done;
  };

  void write_some();
  void finish_first(bool good);

  poller& poll_;
  unique_fd fd_;
  bool may_block_ = false; ///< a pipe, terminal or socket; a file takes what it is given
  std::deque<piece> waiting_;
  std::size_t waiting_bytes_ = 0;
  bool watched_ = false;
};

} // namespace troupe::shepherd
