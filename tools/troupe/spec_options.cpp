// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/spec_options.hpp"

#include "tools/troupe/values.hpp"

#include <array>

namespace troupe::cli {

namespace {

template <class T>
expected<void> store(expected<T> from, auto& to) {
  if (!from)
    return tl::unexpected{from.error()};
  to = static_cast<std::remove_reference_t<decltype(to)>>(std::move(*from));
  return {};
}

expected<void> store_text(std::string_view text, std::size_t bytes_max, std::string& to) {
  if (text.empty())
    return fail(errc::invalid, "needs a value that is not empty");
  if (text.size() > bytes_max)
    return fail(errc::invalid, "has " + std::to_string(text.size()) + " bytes, the limit is " +
                                   std::to_string(bytes_max));
  to = std::string{text};
  return {};
}

expected<void> store_variable(std::string_view text, std::vector<std::string>& to) {
  auto equals = text.find('=');
  if (equals == 0 || equals == std::string_view::npos)
    return fail(errc::invalid,
                "'" + std::string{text.substr(0, 80)} + "' is not of the form NAME=VALUE");
  to.emplace_back(text);
  return {};
}

expected<void> store_map(std::string_view text, map_mode& to) {
  if (from_string(text, to))
    return {};
  return fail(errc::invalid, "'" + std::string{text.substr(0, 80)} + "' is not node, core or slot");
}

expected<void> store_bind(std::string_view text, bind_mode& to) {
  if (!from_string(text, to))
    return fail(errc::invalid, "'" + std::string{text.substr(0, 80)} +
                                   "' is no binding; write core, socket or none");
  return {};
}

expected<void> store_mpi(std::string_view text, job_options& to) {
  if (!from_string(text, to.spec.mpi))
    return fail(errc::invalid,
                "'" + std::string{text.substr(0, 80)} + "' is none of pmix, pmi1 and none");
  to.mpi_given = true;
  return {};
}

expected<void> store_failure(std::string_view text, job_spec& to) {
  if (text != "end" && text != "notify")
    return fail(errc::invalid,
                "'" + std::string{text.substr(0, 80)} + "' is neither end nor notify");
  to.notify_failures = text == "notify";
  return {};
}

expected<void> set(bool& to) {
  to = true;
  return {};
}

utc_ns now() {
  return system_clock_source{}.utc();
}

using to_job = job_options;
using text = std::string_view;

constexpr std::array table{
    spec_option{"-N,--nodes", "N", "spread the tasks over N nodes",
                [](to_job& to, text value) {
                  return store(parse_number(value, 1, nodes_max), to.spec.nodes);
                }},
    spec_option{"-n,--tasks", "N", "run N tasks (ranks)",
                [](to_job& to, text value) {
                  return store(parse_number(value, 1, tasks_max), to.spec.tasks);
                }},
    spec_option{"-c,--cores", "N", "give each task N cores",
                [](to_job& to, text value) {
                  return store(parse_number(value, 1, 4096), to.spec.cores_per_task);
                }},
    spec_option{"-g,--gpus", "N", "give each task N GPUs",
                [](to_job& to, text value) {
                  return store(parse_number(value, 0, gpus_per_node_max), to.spec.gpus_per_task);
                }},
    spec_option{
        "--mem", "SIZE", "memory on each node: 512M, 4G, or bytes",
        [](to_job& to, text value) { return store(parse_memory(value), to.spec.memory_bytes); }},
    spec_option{"-t,--time", "TIME",
                "end the job after this time: minutes, MM:SS, HH:MM:SS, D-HH:MM:SS, 90s, 2h",
                [](to_job& to, text value) {
                  return store(parse_duration_s(value), to.spec.time_limit_s);
                }},
    spec_option{
        "--grace", "TIME", "time between SIGTERM and SIGKILL (10s)",
        [](to_job& to, text value) { return store(parse_duration_s(value), to.spec.grace_s); }},
    spec_option{
        "-q,--queue", "QUEUE", "the queue to wait in",
        [](to_job& to, text value) { return store_text(value, name_bytes_max, to.spec.queue); }},
    spec_option{
        "-J,--name", "NAME", "the job's name",
        [](to_job& to, text value) { return store_text(value, name_bytes_max, to.spec.name); }},
    spec_option{
        "-A,--account", "ACCOUNT", "the account to charge",
        [](to_job& to, text value) { return store_text(value, name_bytes_max, to.spec.account); }},
    spec_option{"-w,--only-nodes", "NODES", "run on these nodes only: node1,node[3-5]",
                [](to_job& to, text value) {
                  return store(parse_node_list(value), to.spec.nodes_required);
                }},
    spec_option{"-x,--exclude-nodes", "NODES", "run on none of these nodes",
                [](to_job& to, text value) {
                  return store(parse_node_list(value), to.spec.nodes_excluded);
                }},
    spec_option{"-C,--features", "FEATURES", "run on nodes that have all of these: ssd,fast",
                [](to_job& to, text value) {
                  return store(parse_names(value, features_max), to.spec.features);
                }},
    spec_option{"--reservation", "NAME", "run in this reservation ('troupe reserve list')",
                [](to_job& to, text value) {
                  return store_text(value, name_bytes_max, to.spec.reservation);
                }},
    spec_option{"-d,--dependency", "SPEC",
                "start when other jobs have: after:ID started, afterok:ID completed, afternotok:ID "
                "failed, afterany:ID ended; several: afterok:1:2,afterany:3",
                [](to_job& to, text value) {
                  return store(parse_dependencies(value), to.spec.dependencies);
                }},
    spec_option{"--nice", "N", "go behind others: the higher, the later; below 0 for operators",
                [](to_job& to, text value) { return store(parse_nice(value), to.spec.nice); }},
    spec_option{"-o,--output", "FILE",
                "write standard output there: %j job, %a element, %t task, %N node, %% percent",
                [](to_job& to, text value) {
                  to.stdout_given = true;
                  return store_text(value, path_bytes_max, to.spec.stdout_path);
                }},
    spec_option{"-e,--error", "FILE", "write standard error there",
                [](to_job& to, text value) {
                  to.stderr_given = true;
                  return store_text(value, path_bytes_max, to.spec.stderr_path);
                }},
    spec_option{"--stdin", "FILE",
                "read standard input from there (run: what this command reads; else /dev/null)",
                [](to_job& to, text value) {
                  return store_text(value, path_bytes_max, to.spec.stdin_path);
                }},
    spec_option{"-a,--array", "RANGE", "an array of jobs: 1-1000%50 (50 at once), 1,3,5-9:2",
                [](to_job& to, text value) { return store(parse_array(value), to.spec.array); }},
    spec_option{"--begin", "T", "do not start before: now+2h, 14:30, 2026-05-01T14:30",
                [](to_job& to, text value) {
                  return store(parse_point_in_time(value, now()), to.spec.begin_utc_ns);
                }},
    spec_option{"--exclusive", "", "share the nodes with no other job",
                [](to_job& to, text) { return set(to.spec.exclusive); }},
    spec_option{"--requeue", "", "run the job again when its node is lost",
                [](to_job& to, text) { return set(to.spec.requeue); }},
    spec_option{"-H,--hold", "", "submit it held; 'troupe release' lets it start",
                [](to_job& to, text) { return set(to.spec.held); }},
    spec_option{"--bind", "core|socket|none", "what each task is bound to (core)",
                [](to_job& to, text value) { return store_bind(value, to.spec.bind); }},
    spec_option{
        "--map-by", "node|core|slot",
        "how tasks are laid out: dealt out to the nodes in turn, one on each core in order, "
        "or node after node (slot)",
        [](to_job& to, text value) { return store_map(value, to.spec.map_by); }},
    spec_option{"--mpi", "pmix|pmi1|none",
                "how MPI ranks find each other (what the program's libraries need)",
                [](to_job& to, text value) { return store_mpi(value, to); }},
    spec_option{"--env", "K=V", "set a variable in the job's environment; may be repeated",
                [](to_job& to, text value) { return store_variable(value, to.environment); }},
    spec_option{"--on-rank-failure", "end|notify",
                "when a rank fails: end the others, or tell them by a PMIx event (end)",
                [](to_job& to, text value) { return store_failure(value, to.spec); }},
    spec_option{"--append", "", "add to the output files instead of emptying them first",
                [](to_job& to, text) { return set(to.spec.append); }},
    spec_option{"--overlap", "", "of a step: share the cores of other steps, and wait for none",
                [](to_job& to, text) { return set(to.spec.overlap); }},
    spec_option{"--clean-env", "", "begin with an empty environment instead of this one",
                [](to_job& to, text) { return set(to.clean_environment); }},
    spec_option{
        "--cwd", "DIR", "the directory to run in (this one)",
        [](to_job& to, text value) { return store_text(value, path_bytes_max, to.spec.cwd); }},
    spec_option{"--dry-run", "", "say when and where the job would start; submit nothing",
                [](to_job& to, text) { return set(to.dry_run); }, false},
    spec_option{"--label", "", "begin each line of output with its task's number",
                [](to_job& to, text) { return set(to.label); }, false},
    spec_option{"--pty", "", "give the first task a terminal, and this one's keys to it",
                [](to_job& to, text) { return set(to.pty); }, false},
    spec_option{"--show-binding", "", "say which cores the tasks are bound to",
                [](to_job& to, text) { return set(to.show_binding); }, false},
};

/// "--mem" of "-m,--mem".
std::string shown_name(const spec_option& option) {
  std::string_view names{option.names};
  auto comma = names.rfind(',');
  return std::string{comma == std::string_view::npos ? names : names.substr(comma + 1)};
}

} // namespace

std::span<const spec_option> spec_options() {
  return table;
}

void define_spec_options(CLI::App& app, std::vector<given_option>& given) {
  for (const auto& option : table) {
    if (*option.metavar == '\0') {
      app.add_flag_callback(
          option.names,
          [&given, &option] {
            given.push_back({&option, {}});
          },
          option.help);
      continue;
    }
    CLI::callback_t take = [&given, &option](const CLI::results_t& values) {
      for (const auto& value : values)
        given.push_back({&option, value});
      return true;
    };
    app.add_option(option.names, take, option.help)
        ->type_name(option.metavar)
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  }
}

expected<void> apply_options(const std::vector<given_option>& given, job_options& to) {
  for (const auto& [option, value] : given)
    if (auto done = option->apply(to, value); !done)
      return fail(done.error().code, shown_name(*option) + ": " + done.error().text);
  return {};
}

expected<std::size_t> find_command(const CLI::App& app, std::span<const std::string> words) {
  auto lookup = [&](std::string_view name) { return app.get_option_no_throw(std::string{name}); };
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string_view word = words[i];
    if (word == "--")
      return i;
    if (word.size() < 2 || word.front() != '-')
      return i;
    bool is_long = word[1] == '-';
    auto name = is_long ? word.substr(0, word.find('=')) : word.substr(0, 2);
    const auto* option = lookup(name);
    if (option == nullptr)
      return fail(errc::invalid, "unknown option " + std::string{name} + "; see --help");
    bool has_value_inside = is_long ? name.size() != word.size() : word.size() > 2;
    if (option->get_items_expected_min() > 0 && !has_value_inside)
      ++i;
  }
  return words.size();
}

} // namespace troupe::cli
