// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cluster_harness.hpp"

#include <optional>
#include <set>

// System calls of a running cluster fail on purpose: strace attaches to the launcher, to what it
// makes up to its exec, or to trouped, and answers a chosen call with a chosen error.

namespace troupe::test {

/// Whose calls fail. `child` is a rank between fork and exec; what it executes is left alone.
enum class victim { launcher, child, trouped };
const char* to_string(victim whose);

/// One thing that goes wrong.
struct fault {
  victim whose{};
  std::string call;
  std::string error;
  std::string when; ///< strace's: "2" the second, "1+" each, "1..3"
};
std::string sentence(const fault& what);

/// What the kernel may answer to a call on a job's way; none for calls that cannot fail there.
std::vector<std::string> errors_of(const std::string& call);

/// Whether this machine lets a process trace another that is not its child.
bool can_trace();

/// strace on a process of the cluster, attached when this is made, gone when it is destroyed.
class tracer {
public:
  /// `options`: what strace does with it.
  tracer(test_cluster& cluster, victim whose, const words& options);
  ~tracer();
  tracer(const tracer&) = delete;
  tracer& operator=(const tracer&) = delete;
  /// False when the victim had ended, or strace could not attach.
  bool attached() const { return attached_; }

private:
  std::optional<running_program> strace_;
  bool attached_ = false;
};

/// Processor time that a process has had, in seconds.
double cpu_seconds(pid_t pid);

} // namespace troupe::test
