// SPDX-License-Identifier: Apache-2.0
#include "runtime/sim/figures.hpp"
#include "runtime/sim/input.hpp"
#include "runtime/sim/replay.hpp"
#include "runtime/sim/starts_file.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/values.hpp"

#include <charconv>
#include <chrono>
#include <memory>
#include <optional>
#include <unistd.h>

// Purpose: what a policy would have made of a workload log. Input: a log in the Standard Workload
// Format, the machine's size, the policy. Action: replays it; prints averages, writes the starts.
// Caveats: needs no cluster and asks none; what is left out of the log is said on standard error.

namespace troupe::cli {

namespace {

using clock = std::chrono::steady_clock;

constexpr auto progress_every = std::chrono::milliseconds{200};
constexpr std::string_view policies = "fcfs, easy, conservative, slowdown";
constexpr std::string_view estimates = "request, actual, user-average";
constexpr std::string_view corrections = "incremental, request";
constexpr std::string_view event_modes = "each, instant";

struct simulate_options {
  std::string log;
  std::string processors;
  std::string policy = "slowdown";
  std::string estimates = "request";
  std::string correction = "incremental";
  std::string order;
  std::string backfill_order;
  std::string overtake_limit;
  std::string events = "each";
  std::string starts;
};

/// Reads one option's word; keeps the first mistake.
template <class Value>
void read(expected<void>& so_far, const char* option, const std::string& word,
          std::optional<Value> value, std::string_view names, Value& into) {
  if (value)
    into = *value;
  else if (so_far)
    so_far = fail(errc::invalid, std::string{option} + ": '" + word.substr(0, 40) +
                                     "' is none of " + std::string{names});
}

std::optional<sim::event_mode> event_mode_named(std::string_view name) {
  if (name == "each")
    return sim::event_mode::each;
  if (name == "instant")
    return sim::event_mode::instant;
  return std::nullopt;
}

expected<void> read_orders(const simulate_options& words, plan::pool_config& machine) {
  bool own = machine.policy == plan::pool_policy::slowdown;
  if (own && (!words.order.empty() || !words.backfill_order.empty()))
    return fail(errc::invalid,
                "the policy slowdown has an order of its own; give --policy easy with "
                "--order or --backfill-order");
  if (own)
    machine.order = machine.backfill_order = plan::queue_order::slowdown;
  expected<void> fine;
  if (!words.order.empty())
    read(fine, "--order", words.order, plan::queue_order_named(words.order),
         plan::queue_order_names(), machine.order);
  if (!words.backfill_order.empty())
    read(fine, "--backfill-order", words.backfill_order,
         plan::queue_order_named(words.backfill_order), plan::queue_order_names(),
         machine.backfill_order);
  return fine;
}

expected<void> read_overtake_limit(const simulate_options& words, plan::pool_config& machine) {
  if (words.overtake_limit.empty())
    return {};
  if (machine.policy == plan::pool_policy::conservative)
    return fail(errc::invalid, "--overtake-limit does not go with --policy conservative, which "
                               "promises every job its start");
  auto limit = parse_duration_s(words.overtake_limit);
  if (!limit)
    return fail(errc::invalid, "--overtake-limit: " + limit.error().text);
  machine.overtake_limit = *limit;
  return {};
}

expected<sim::replay_options> parse(const simulate_options& words) {
  sim::replay_options out;
  auto processors = parse_number(words.processors, 1, sim::processors_max);
  if (!processors)
    return fail(errc::invalid, "--procs: " + processors.error().text);
  auto& machine = out.machine;
  machine.processors = static_cast<std::uint32_t>(*processors);
  expected<void> fine;
  read(fine, "--policy", words.policy, plan::pool_policy_named(words.policy), policies,
       machine.policy);
  read(fine, "--estimates", words.estimates, plan::estimates_named(words.estimates), estimates,
       out.estimates);
  read(fine, "--correction", words.correction, plan::correction_named(words.correction),
       corrections, out.correction);
  read(fine, "--events", words.events, event_mode_named(words.events), event_modes, out.events);
  if (fine)
    fine = read_orders(words, machine);
  if (fine)
    fine = read_overtake_limit(words, machine);
  if (!fine)
    return tl::unexpected<error>{fine.error()};
  return out;
}

// -- what is left out -----------------------------------------------------------------------------

void add_reason(std::string& text, std::uint64_t count, const std::string& why) {
  if (count > 0)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + why;
}

std::string reasons(const sim::workload& work, std::uint32_t processors) {
  std::string text;
  const auto& without = work.without;
  add_reason(text, without.too_large,
             "larger than " + std::to_string(processors) + " processors (the largest " +
                 std::to_string(work.largest_left_out) + ")");
  add_reason(text, without.no_processors, "without a number of processors");
  add_reason(text, without.no_run_time, "without a run time");
  add_reason(text, without.no_requested_time, "without a requested time");
  add_reason(text, without.negative_submit, "submitted before time 0");
  return text;
}

std::string described(const sim::swf_problem& problem) {
  return "line " + std::to_string(problem.line) + " " + problem.what;
}

void tell_left_out(const invocation& run, const sim::swf_log& log, const sim::workload& work,
                   std::uint32_t processors) {
  for (const auto& problem : log.problems)
    notice(run, described(problem) + "; left out");
  if (log.malformed > log.problems.size())
    notice(run, std::to_string(log.malformed) + " malformed lines in all were left out");
  if (log.too_many)
    notice(run, "only the first " + std::to_string(sim::jobs_max) + " jobs were read");
  if (work.without.total() > 0)
    notice(run, "left out of " + std::to_string(log.jobs.size()) +
                    " jobs: " + reasons(work, processors));
  if (work.cut_to_request > 0)
    notice(run, std::to_string(work.cut_to_request) +
                    " jobs ran longer than they asked for; they end at their requested time");
  if (work.no_requested_times)
    notice(run, "the log has no requested times; nothing but run times is used");
}

expected<void> check(const simulate_options& words, const sim::swf_log& log,
                     const sim::workload& work, const sim::replay_options& options) {
  if (!work.jobs.empty() && work.no_requested_times && options.estimates != plan::estimates::actual)
    return fail(errc::invalid,
                "no job in " + words.log + " has a requested time; give --estimates actual");
  if (!work.jobs.empty())
    return {};
  auto text = "nothing in " + words.log + " can be simulated: ";
  if (log.jobs.empty() && log.malformed == 0)
    return fail(errc::invalid, text + "it has no jobs");
  auto why = reasons(work, options.machine.processors);
  add_reason(why, log.malformed, "lines malformed");
  if (!log.problems.empty())
    why += " (" + described(log.problems.front()) + ")";
  return fail(errc::invalid, text + why);
}

// -- progress -------------------------------------------------------------------------------------

/// One line on a terminal, written over; nothing elsewhere.
class progress_line {
public:
  progress_line() : terminal_{::isatty(STDERR_FILENO) != 0} {}
  ~progress_line() { clear(); }
  progress_line(const progress_line&) = delete;
  progress_line& operator=(const progress_line&) = delete;

  void show(const std::string& text) {
    auto now = clock::now();
    if (!terminal_ || now < next_)
      return;
    next_ = now + progress_every;
    shown_ = true;
    write_all(STDERR_FILENO, "\r\033[K" + text);
  }

  void clear() {
    if (shown_)
      write_all(STDERR_FILENO, "\r\033[K");
    shown_ = false;
  }

private:
  bool terminal_;
  bool shown_ = false;
  clock::time_point next_ = clock::now() + progress_every;
};

// -- results --------------------------------------------------------------------------------------

/// What one simulation was and gave.
struct outcome {
  const simulate_options& words;
  const sim::replay_options& options;
  const sim::swf_log& log;
  const sim::workload& work;
  sim::schedule_figures figures;
  double elapsed_s = 0;
};

std::string fixed(double value, int digits) {
  char text[64];
  auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, digits).ptr;
  return {text, end};
}

std::string json_of(const outcome& of) {
  const auto& f = of.figures;
  std::string out = "{\"jobs\":" + std::to_string(f.jobs);
  out += ",\"avebsld\":" + fixed(f.avebsld, 6);
  out += ",\"mean_wait_s\":" + fixed(f.mean_wait_s, 3);
  out += ",\"longest_wait_s\":" + std::to_string(f.longest_wait_s);
  out += ",\"utilisation\":" + fixed(f.utilisation, 6);
  out += ",\"makespan_s\":" + std::to_string(f.makespan_s);
  for (auto [key, word] : {std::pair{"policy", &of.words.policy},
                           {"estimates", &of.words.estimates},
                           {"correction", &of.words.correction},
                           {"events", &of.words.events}})
    out += ",\"" + std::string{key} + "\":\"" + *word + "\"";
  const auto& machine = of.options.machine;
  out += ",\"order\":\"" + std::string{to_string(machine.order)} + "\"";
  out += ",\"backfill_order\":\"" + std::string{to_string(machine.backfill_order)} + "\"";
  out += ",\"processors\":" + std::to_string(of.options.machine.processors);
  out += ",\"left_out\":" + std::to_string(of.work.without.total());
  out += ",\"malformed_lines\":" + std::to_string(of.log.malformed);
  return out + ",\"elapsed_s\":" + fixed(of.elapsed_s, 6) + "}\n";
}

std::string text_of(const outcome& of) {
  const auto& f = of.figures;
  std::string out;
  auto row = [&out](std::string name, const std::string& value) {
    name.resize(26, ' ');
    out += name + value + "\n";
  };
  row("jobs", std::to_string(f.jobs));
  row("average bounded slowdown", fixed(f.avebsld, 2));
  row("mean wait", fixed(f.mean_wait_s, 2) + " s");
  row("longest wait", std::to_string(f.longest_wait_s) + " s");
  row("utilisation", fixed(f.utilisation, 4));
  row("makespan", std::to_string(f.makespan_s) + " s");
  row("simulated in", fixed(of.elapsed_s, 3) + " s");
  return out;
}

int simulate(const invocation& run, const simulate_options& words) {
  auto begun = clock::now();
  auto options = parse(words);
  if (!options)
    return report_usage(run, options.error().text);
  progress_line progress;
  auto log = sim::read_swf_file(words.log, [&](std::size_t jobs) {
    progress.show("read " + std::to_string(jobs) + " jobs");
  });
  progress.clear();
  if (!log)
    return report(run, log.error());
  auto work = sim::make_workload(*log, options->machine.processors);
  if (auto fine = check(words, *log, work, *options); !fine)
    return report(run, fine.error());
  auto starts = sim::replay(work.jobs, *options, [&](std::size_t ended) {
    progress.show(std::to_string(ended) + " of " + std::to_string(work.jobs.size()) +
                  " jobs have ended");
  });
  progress.clear();
  if (!starts)
    return report(run, starts.error());
  if (!words.starts.empty())
    if (auto written = sim::write_starts_file(words.starts, work.jobs, *starts); !written)
      return report(run, written.error());
  tell_left_out(run, *log, work, options->machine.processors);
  outcome result{
      words, *options, *log, work, sim::figures_of(work.jobs, *starts, options->machine.processors),
      0};
  result.elapsed_s = std::chrono::duration<double>(clock::now() - begun).count();
  return print(run.json ? json_of(result) : text_of(result)) ? exit_code::done : exit_code::failed;
}

} // namespace

void define_simulate(CLI::App& app, invocation& run) {
  auto words = std::make_shared<simulate_options>();
  app.add_option("log", words->log, "a log in the Standard Workload Format, plain or gzip")
      ->required()
      ->type_name("LOG.swf[.gz]");
  app.add_option("--procs", words->processors, "processors of the machine")
      ->required()
      ->type_name("M");
  app.add_option("--policy", words->policy, "fcfs, easy, conservative or slowdown (slowdown)")
      ->type_name("POLICY");
  app.add_option("--estimates", words->estimates,
                 "what jobs are expected to run for: request, actual, user-average (request)")
      ->type_name("KIND");
  app.add_option("--correction", words->correction,
                 "of an estimate that was too short: incremental, request (incremental)")
      ->type_name("KIND");
  app.add_option("--order", words->order,
                 "of the queue: fcfs, sjf, wfp3, unicef, f1, f2, f3, f4, slowdown (fcfs)")
      ->type_name("ORDER");
  app.add_option("--backfill-order", words->backfill_order,
                 "of easy: in which others are tried behind a blocked job; the same names (fcfs)")
      ->type_name("ORDER");
  app.add_option(
         "--overtake-limit", words->overtake_limit,
         "after so long nobody overtakes a job (slowdown: from what jobs are like; else none)")
      ->type_name("TIME");
  app.add_option("--events", words->events,
                 "decide after each event, or once for each instant (each)")
      ->type_name("MODE");
  app.add_option("--starts", words->starts, "write job,submit,start,run,procs of every job here")
      ->type_name("FILE.csv");
  run.act = [&run, words] { return simulate(run, *words); };
}

} // namespace troupe::cli
