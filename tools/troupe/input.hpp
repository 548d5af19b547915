// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/unique_fd.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/session.hpp"

#include <optional>
#include <string>
#include <termios.h>
#include <thread>

namespace troupe::cli {

/// Whether there is something that a job could read: a file, a pipe, a terminal, not /dev/null.
bool has_standard_input();

/// The size of the terminal here, or that of old when there is none.
terminal_size size_of_terminal();

/// While it lives, every key goes to the job's terminal, which does with it what ours would.
class raw_terminal {
public:
  raw_terminal();
  ~raw_terminal() { restore(); }
  raw_terminal(const raw_terminal&) = delete;
  raw_terminal& operator=(const raw_terminal&) = delete;
  void restore();

private:
  std::optional<termios> before_;
};

/// Sends what comes on standard input to a running job or step, on a thread and over a connection
/// of its own. When the cluster was away it goes on at the byte where it was.
class input_sender {
public:
  struct destination {
    job_id job = 0;
    std::uint32_t element = no_element;
    std::uint32_t step = 0;
    bool has_terminal = false;
  };

  input_sender(const invocation& run, destination to);
  ~input_sender();
  input_sender(const input_sender&) = delete;
  input_sender& operator=(const input_sender&) = delete;

  /// A job that cannot be given what it is to read is cancelled, with a word.
  void start();

private:
  void work();
  std::optional<calls::write_input> next();
  void end(calls::write_input& what);
  bool pause(int milliseconds);
  bool send(const calls::write_input& what);
  bool come_back(const error& why);
  void give_up(const error& why);
  bool cancel();

  const invocation& run_;
  destination to_;
  unique_fd stop_;
  unique_fd resized_; ///< a signalfd, where the job has a terminal
  std::optional<session> session_;
  std::uint64_t offset_ = 0;
  bool size_told_ = false;
  bool typing_ends_ = false;
  int ends_typed_ = 0;
  bool over_ = false;
  std::thread thread_; ///< the last: it uses the others
};

} // namespace troupe::cli
