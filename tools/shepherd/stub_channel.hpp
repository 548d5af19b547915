// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/shepherd/poller.hpp"
#include "tools/stub/protocol.hpp"

#include <functional>
#include <string>
#include <vector>

namespace troupe::shepherd {

/// A rank that waits for its environment, and where its output goes.
struct waiting_stub {
  stub::hello who;
  unique_fd socket;
  unique_fd output;
  unique_fd error_output;
};

/// The receiving end of the stub channel: ranks that are to become the user's program.
class stub_channel {
public:
  using receiver = std::function<void(waiting_stub)>;

  stub_channel(int fd, poller& poll, receiver receive);
  stub_channel(const stub_channel&) = delete;
  stub_channel& operator=(const stub_channel&) = delete;
  ~stub_channel();

  /// False when no stub can ever be heard.
  bool is_watched() const { return watched_; }

private:
  bool take_some();

  int fd_;
  poller& poll_;
  receiver receive_;
  bool watched_ = false;
};

/// What a stub is told: see tools/stub/protocol.hpp.
struct stub_answer {
  std::vector<std::string> command; ///< empty: the stub's own
  std::vector<std::string> variables;
  bool own_host_name = false;
};

/// It fits into the socket's buffer; false where it does not or where the stub is gone.
bool answer_stub(int fd, const stub_answer& what);

} // namespace troupe::shepherd
