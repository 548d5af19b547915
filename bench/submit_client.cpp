// SPDX-License-Identifier: Apache-2.0
// submit_client: submits jobs over one connection, each in a call of its own with a request that
// was signed before the clock starts.
//   --count N         how many (10000)
//   --environment B   bytes of environment of each (default: two short variables)
//   --sequential      each waits for the answer to the one before; else all are under way at once
//   --held            held, so that none starts
//   --array N         one array of N elements instead; waits for its end
//   --window N        at most N elements of it at once
//   --program PATH    what they run (/bin/true)
// Prints submissions per second until the last durable answer; for an array its seconds from
// submission to the last exit.
#include "bench/stopwatch.hpp"
#include "tools/troupe/session.hpp"

#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <getopt.h>

using namespace troupe;

namespace {

constexpr std::size_t requests_per_signature = 256;
constexpr std::size_t variable_bytes = 100;

struct settings {
  std::size_t count = 10'000;
  std::size_t environment_bytes = 0;
  std::uint32_t array = 0;
  std::uint32_t window = 0;
  bool sequential = false;
  bool held = false;
  std::string program = "/bin/true";
};

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "submit_client: %s\n", why.c_str());
  std::exit(1);
}

template <class T>
T need(expected<T> value) {
  if (!value)
    give_up(value.error().text);
  return std::move(*value);
}

settings read_options(int argc, char** argv) {
  settings how;
  const option known[] = {{"count", required_argument, nullptr, 'c'},
                          {"environment", required_argument, nullptr, 'e'},
                          {"sequential", no_argument, nullptr, 's'},
                          {"held", no_argument, nullptr, 'h'},
                          {"array", required_argument, nullptr, 'a'},
                          {"window", required_argument, nullptr, 'w'},
                          {"program", required_argument, nullptr, 'p'},
                          {nullptr, 0, nullptr, 0}};
  for (int one = 0; (one = ::getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    const auto number = optarg != nullptr ? std::strtoul(optarg, nullptr, 10) : 0;
    switch (one) {
    case 'c': how.count = number; break;
    case 'e': how.environment_bytes = number; break;
    case 's': how.sequential = true; break;
    case 'h': how.held = true; break;
    case 'a': how.array = static_cast<std::uint32_t>(number); break;
    case 'w': how.window = static_cast<std::uint32_t>(number); break;
    case 'p': how.program = optarg; break;
    default: std::exit(2);
    }
  }
  return how;
}

std::vector<std::string> environment(std::size_t bytes) {
  std::vector<std::string> result;
  if (bytes == 0)
    return {"HOME=/nonexistent", "PATH=/usr/bin:/bin"};
  for (std::size_t used = 0; used < bytes; used += variable_bytes) {
    auto variable = fmt::format("VARIABLE_{:04}=", result.size());
    variable.resize(variable_bytes, 'x');
    result.push_back(std::move(variable));
  }
  return result;
}

job_spec spec_of(const settings& how) {
  job_spec spec;
  spec.name = "bench";
  spec.argv = {how.program};
  spec.env = environment(how.environment_bytes);
  spec.cwd = "/";
  spec.held = how.held;
  if (how.array > 0) {
    spec.array.emplace();
    spec.array->ranges.push_back({0, how.array - 1});
    spec.array->running_max = how.window;
  }
  return spec;
}

/// The parameters of `count` calls.
std::vector<std::string> prepare(const cli::session& session, const job_spec& spec,
                                 std::size_t count) {
  std::vector<std::string> result;
  result.reserve(count);
  const std::vector<job_spec> together(requests_per_signature, spec);
  while (result.size() < count) {
    const auto some = std::min(requests_per_signature, count - result.size());
    for (auto& request : need(session.sign({together.data(), some}))) {
      calls::submit call;
      call.jobs.push_back(spec);
      call.requests.push_back(std::move(request));
      result.push_back(to_json_text(call, visibility::owner));
    }
  }
  return result;
}

job_id id_in(const std::string& parameters) {
  const auto reply = need(cli::session::decode<calls::submit::reply>(parameters)).value;
  if (reply.jobs.size() != 1 || reply.jobs.front().job == 0)
    give_up("a job was refused: " + parameters);
  return reply.jobs.front().job;
}

void send(cli::session& session, const std::string& parameters) {
  varlink::call call;
  call.method = calls::submit::method;
  call.parameters = parameters;
  if (auto sent = session.wire().send(call); !sent)
    give_up(sent.error().text);
}

job_id receive(cli::session& session) {
  const auto reply = need(session.wire().receive());
  if (reply.failed)
    give_up(reply.failed->message);
  return id_in(reply.parameters);
}

double submissions_per_second(cli::session& session, const settings& how) {
  const auto calls = prepare(session, spec_of(how), how.count);
  const bench::stopwatch watch;
  for (const auto& each : calls) {
    send(session, each);
    if (how.sequential)
      receive(session);
  }
  for (std::size_t i = how.sequential ? calls.size() : 0; i < calls.size(); ++i)
    receive(session);
  return static_cast<double>(calls.size()) / watch.seconds();
}

double array_seconds(cli::session& session, const settings& how) {
  const auto calls = prepare(session, spec_of(how), 1);
  const bench::stopwatch watch;
  send(session, calls.front());
  const auto id = receive(session);
  calls::wait wait;
  wait.targets.push_back({id, id, std::nullopt});
  need(session.call(wait));
  return watch.seconds();
}

} // namespace

int main(int argc, char** argv) {
  const auto how = read_options(argc, argv);
  auto session = need(cli::session::open({}));
  if (how.array > 0)
    std::printf("%.4f\n", array_seconds(session, how));
  else
    std::printf("%.1f\n", submissions_per_second(session, how));
}
