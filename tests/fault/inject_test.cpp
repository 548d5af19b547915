// SPDX-License-Identifier: Apache-2.0
#include "fault/inject.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>

using namespace troupe::test;

// Every failure of every system call on a job's way ends in a retry, a refusal or that element's
// own end. The book-keeping is the test's own: each task writes a line of its own when it starts.

namespace {

/// The small set of jobs that goes through one fault: an array, streamed output, a script with a
/// step, and an array whose output is a file for each.
struct small_jobs {
  std::vector<std::string> ids;
  std::vector<running_program> streams;
};

std::string mark() {
  return "echo $TROUPE_JOB_ID.$TROUPE_ELEMENT.$TROUPE_STEP.$TROUPE_RANK >>marks";
}

std::optional<std::string> try_submit(test_cluster& cluster, words options,
                                      const std::string& script) {
  options.insert(options.begin(), "submit");
  options.insert(options.end(), {"sh", "-c", script});
  const auto done = cluster.troupe(options);
  if (done.exit != 0)
    return std::nullopt; // refused, with a word: that is an answer
  return lines_of(done.out).front();
}

small_jobs start_jobs(test_cluster& cluster) {
  small_jobs jobs;
  const auto keep = [&](std::optional<std::string> id) {
    if (id)
      jobs.ids.push_back(*id);
  };
  keep(try_submit(cluster, {"-a", "1-3", "-o", "/dev/null"}, mark()));
  jobs.streams.push_back(cluster.start({"run", "-n", "2", "sh", "-c", mark() + "; echo hello"}));
  keep(try_submit(cluster, {"-a", "1-2", "-o", "out.%a"}, mark()));
  keep(try_submit(cluster, {"-o", "/dev/null"}, mark() + "; troupe run sh -c '" + mark() + "'"));
  return jobs;
}

struct findings {
  std::vector<std::string> lines;
  void add(const std::string& line) { lines.push_back(line); }
};

void check_marks(test_cluster& cluster, findings& found) {
  std::map<std::string, int> seen;
  for (const auto& line : lines_of(cluster.file("marks")))
    if (++seen[line] == 2)
      found.add("ran twice: " + line);
}

void check_ends(test_cluster& cluster, small_jobs& jobs, findings& found) {
  for (auto& stream : jobs.streams) {
    const auto done = stream.wait(90s);
    if (done.exit < 0)
      found.add("troupe run did not end");
  }
  for (const auto& id : jobs.ids) {
    const auto waited = cluster.troupe({"wait", id}, 90s);
    if (waited.exit < 0 || waited.exit == 75)
      found.add("job " + id + " did not end: " + cluster.troupe({"why", id}).out);
  }
}

void check_quiet(test_cluster& cluster, findings& found) {
  if (!eventually([&] { return cluster.job_processes().empty(); }))
    found.add("processes of jobs are left");
  for (auto pid : {cluster.launcher(), cluster.trouped()}) {
    const auto before = cpu_seconds(pid);
    (void)eventually([] { return false; }, 200ms);
    if (cpu_seconds(pid) - before > 0.15)
      found.add("a process is busy while nothing runs: " + std::to_string(pid));
  }
}

/// CAF aborts the process where epoll_ctl fails: it starts itself over, with threads of its own
/// that strace fails as well. Where that start fails it says so; nothing else ends trouped.
void check_lives(test_cluster& cluster, const fault& what, findings& found) {
  if (is_alive(cluster.trouped()))
    return;
  if (what.whose != victim::trouped || what.call != "epoll_ctl")
    found.add("trouped has ended");
  cluster.up();
}

void check_works(test_cluster& cluster, findings& found) {
  const auto done = cluster.troupe({"run", "echo", "works"}, 60s);
  if (done.out != "works\n")
    found.add("the next job does not run: " + done.err);
}

findings go_through(test_cluster& cluster, const fault& what) {
  findings found;
  cluster.write("marks", "");
  small_jobs jobs;
  {
    tracer strace{cluster,
                  what.whose,
                  {"-o", "/dev/null", "-e", "trace=" + what.call, "-e",
                   "inject=" + what.call + ":error=" + what.error + ":when=" + what.when}};
    if (!strace.attached()) {
      found.add("strace could not attach");
      return found;
    }
    jobs = start_jobs(cluster);
    (void)eventually([&] { return lines_of(cluster.file("marks")).size() >= 9; }, 700ms);
  }
  check_lives(cluster, what, found);
  check_ends(cluster, jobs, found);
  check_marks(cluster, found);
  check_quiet(cluster, found);
  check_works(cluster, found);
  return found;
}

/// Goes through them all on one cluster; one that broke is left for another.
void go_through_all(const std::vector<fault>& faults) {
  std::unique_ptr<test_cluster> cluster;
  for (const auto& what : faults) {
    std::cout << sentence(what) << std::endl; // where it stands, if it is stopped
    if (!cluster) {
      cluster = std::make_unique<test_cluster>(cluster_shape{1, 4, {}, {}});
    }
    const auto found = go_through(*cluster, what);
    for (const auto& line : found.lines)
      FAIL_CHECK(sentence(what) << ": " << line);
    if (!found.lines.empty())
      cluster.reset();
  }
}

/// The calls that are made while the small set of jobs runs.
std::set<std::string> calls_of(test_cluster& cluster, victim whose) {
  cluster.write("marks", "");
  small_jobs jobs;
  {
    tracer strace{cluster, whose, {"-o", cluster.path("trace")}};
    REQUIRE(strace.attached());
    jobs = start_jobs(cluster);
    (void)eventually([&] { return lines_of(cluster.file("marks")).size() >= 9; }, 5s);
  }
  findings found;
  check_ends(cluster, jobs, found);
  CHECK(found.lines.empty());
  std::set<std::string> calls;
  for (const auto& line : lines_of(cluster.file("trace"))) {
    const auto begin = line.find_first_not_of("0123456789 ");
    const auto end = line.find('(');
    // Not the second half of a call that another thread's came into.
    if (begin != std::string::npos && end != std::string::npos && begin < end && line[begin] != '<')
      calls.insert(line.substr(begin, end - begin));
  }
  return calls;
}

/// What the ledger and the audit chain do with a disk that fails has tests of its own.
bool is_of_storage(const fault& what) {
  return what.whose == victim::trouped && (what.call == "write" || what.call == "ftruncate");
}

} // namespace

TEST_CASE("what the kernel refuses on a job's way ends in a retry, a refusal or its own end") {
  if (!can_trace()) {
    std::cout << "skipped: strace may not attach here\n";
    return;
  }
  go_through_all({
      // The connection with which the cluster has begun.
      {victim::trouped, "recvmsg", "ECONNABORTED", "1"},
      {victim::launcher, "clone3", "EAGAIN", "1"},
      {victim::launcher, "clone3", "EAGAIN", "1+"},
      {victim::launcher, "pipe2", "EMFILE", "1+"},
      {victim::launcher, "pipe2", "EMFILE", "2"},
      {victim::launcher, "openat", "EMFILE", "1+"},
      {victim::launcher, "recvmsg", "ENOMEM", "2"},
      {victim::launcher, "sendmsg", "ENOBUFS", "1+"},
      {victim::launcher, "sendmsg", "EAGAIN", "3"},
      {victim::launcher, "mmap", "ENOMEM", "1"},
      {victim::launcher, "memfd_create", "EMFILE", "1+"},
      {victim::launcher, "waitid", "EINTR", "1"},
      {victim::child, "dup2", "EMFILE", "1"},
      {victim::child, "setsid", "EPERM", "1"},
      {victim::trouped, "memfd_create", "EMFILE", "1+"},
      {victim::trouped, "memfd_create", "ENOMEM", "2"},
      {victim::trouped, "sendmsg", "ENOBUFS", "1+"},
      {victim::trouped, "recvmsg", "ENOMEM", "1"},
      {victim::trouped, "openat", "EMFILE", "1+"},
      {victim::trouped, "epoll_ctl", "ENOSPC", "1"},
      {victim::trouped, "epoll_ctl", "ENOSPC", "1+"},
      {victim::trouped, "accept4", "EMFILE", "1..3"},
      {victim::trouped, "splice", "ENOMEM", "1"},
  });
}

TEST_CASE("each call on a job's way fails in each way that is likely", "[.long]") {
  if (!can_trace()) {
    std::cout << "skipped: strace may not attach here\n";
    return;
  }
  std::vector<fault> faults;
  {
    test_cluster cluster{cluster_shape{1, 4, {}, {}}};
    for (auto whose : {victim::launcher, victim::child, victim::trouped})
      for (const auto& call : calls_of(cluster, whose)) {
        const auto errors = errors_of(call);
        if (errors.empty())
          std::cout << to_string(whose) << ": " << call << " is not failed\n";
        for (const auto& error : errors)
          for (const char* when : {"1", "2", "1+"})
            if (const fault each{whose, call, error, when}; !is_of_storage(each))
              faults.push_back(each);
      }
  }
  // TROUPE_INJECT="trouped: recvmsg" goes through those alone.
  if (const char* only = std::getenv("TROUPE_INJECT"))
    std::erase_if(faults, [&](const fault& each) { return sentence(each).find(only) != 0; });
  std::cout << faults.size() << " faults\n";
  go_through_all(faults);
}
