// SPDX-License-Identifier: Apache-2.0
#include "tools/trouped/private_cluster.hpp"

#include "actors/agent.hpp"
#include "actors/authority.hpp"
#include "actors/client.hpp"
#include "actors/configuration.hpp"
#include "actors/estimator.hpp"
#include "actors/history.hpp"
#include "actors/keeper.hpp"
#include "actors/ledger.hpp"
#include "actors/node.hpp"
#include "actors/observer.hpp"
#include "actors/past_work.hpp"
#include "actors/planner.hpp"
#include "actors/scheduler/scheduler.hpp"
#include "auth/audit_jobs.hpp"
#include "base/unique_fd.hpp"
#include "runtime/topology/machine.hpp"
#include "runtime/topology/virtual_nodes.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::daemon {

namespace {

constexpr auto launcher_deadline = std::chrono::seconds(10);
constexpr std::int64_t request_life_ns = 3600 * ns_per_s;
constexpr std::uint64_t audit_bytes_read = 4u << 20; ///< of its end: a start does not take longer
constexpr std::int64_t half_lives_remembered = 10; ///< what was used before counts next to nothing

expected<void> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return fail(errc::storage,
                fmt::format("cannot make the directory {}: {}", path, std::strerror(errno)));
  return {};
}

/// The directory that this program is in; the launcher stands beside it.
std::string program_directory() {
  std::array<char, 4096> path{};
  const auto length = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  const std::string text{path.data(), length > 0 ? static_cast<std::size_t>(length) : 0};
  return text.substr(0, text.rfind('/'));
}

std::string find_launcher() {
  const auto here = program_directory();
  for (const auto& candidate :
       {here + "/troupe-launcher", here + "/../libexec/troupe/troupe-launcher"})
    if (::access(candidate.c_str(), X_OK) == 0)
      return candidate;
  return here + "/troupe-launcher";
}

expected<void> read_configuration(foundation& base) {
  if (base.how.config.empty()) {
    base.config = std::make_shared<cluster_config const>(default_config());
    return {};
  }
  auto reading = read_config_file(base.how.config);
  if (!reading.config)
    return tl::unexpected<error>{to_error(reading.problems)};
  base.config = std::make_shared<cluster_config const>(std::move(*reading.config));
  return {};
}

/// What the configuration says of a node that its machine does not. Virtual nodes share the
/// machine's GPUs in their order, each as many as it is told, round again when they are used up.
expected<void> add_extras(const cluster_config& config, const topology::machine_topology& machine,
                          std::vector<std::shared_ptr<node_inventory>>& nodes) {
  for (const auto& extra : config.nodes)
    if (std::none_of(nodes.begin(), nodes.end(),
                     [&](const auto& node) { return node->name == extra.name; }))
      return fail(errc::invalid, fmt::format("{}: nodes.{}: there is no such node; this cluster "
                                             "has node1 to node{}",
                                             config.path, extra.name, nodes.size()));
  const auto found = machine.gpu_count();
  const auto each = found / static_cast<std::uint32_t>(nodes.size());
  std::uint32_t next = 0;
  for (auto& node : nodes) {
    auto extra = std::find_if(config.nodes.begin(), config.nodes.end(),
                              [&](const node_extras& one) { return one.name == node->name; });
    const auto known = extra != config.nodes.end();
    const auto count = known && extra->gpus ? *extra->gpus : each;
    for (std::uint32_t i = 0; i < count; ++i)
      node->gpus.push_back(next++ % gpus_per_node_max);
    if (known)
      node->features = extra->features;
  }
  return {};
}

expected<void> describe_nodes(foundation& base) {
  auto machine = topology::machine_topology::detect();
  if (!machine)
    return tl::unexpected<error>{machine.error()};
  auto layout =
      topology::virtual_nodes(*machine, base.how.nodes, base.how.cores, base.how.memory_bytes);
  if (!layout)
    return tl::unexpected<error>{layout.error()};
  base.remark = layout->remark;
  std::uint32_t number = 0;
  std::vector<std::shared_ptr<node_inventory>> nodes;
  for (const auto& from : layout->nodes) {
    auto node = std::make_shared<node_inventory>();
    node->node = ++number;
    node->name = fmt::format("node{}", number);
    node->memory_bytes = from.memory_bytes;
    node->oversubscribed = layout->oversubscribed;
    const auto groups = from.core_groups();
    for (std::size_t i = 0; i < from.cores.size(); ++i)
      node->cores.push_back({from.cores[i].pus, groups[i], from.cores[i].socket});
    nodes.push_back(std::move(node));
  }
  if (auto done = add_extras(*base.config, *machine, nodes); !done)
    return done;
  actors::plan_names names;
  for (auto& node : nodes) {
    if (auto known = names.add(*node); !known)
      return known;
    base.nodes.push_back(std::move(node));
  }
  return {};
}

/// What was revoked before this start stays so.
expected<void> read_revocations(const std::string& path, auth::revocation_state& into) {
  const unique_fd file{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
  if (!file && errno == ENOENT)
    return {};
  std::string text;
  std::array<char, 64 * 1024> piece{};
  ssize_t got = file ? 1 : -1;
  while (file && (got = ::read(file.get(), piece.data(), piece.size())) > 0)
    text.append(piece.data(), static_cast<std::size_t>(got));
  if (got < 0)
    return fail(errc::storage, fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  if (auto taken = into.restore(text); !taken)
    return fail(taken.error().code, fmt::format("{}: {}", path, taken.error().text));
  return {};
}

expected<void> open_authority(foundation& base) {
  auto keys = auth::open_private_cluster_keys(base.how.state + "/keys");
  if (!keys)
    return tl::unexpected<error>{keys.error()};
  base.keys = std::make_shared<auth::cluster_keys>(std::move(*keys));
  auth::verifier_options checks;
  checks.cluster = base.keys->cluster;
  checks.meant_for = *auth::audience::parse("controller");
  auto revoked = std::make_shared<auth::revocation_state>(false);
  if (auto read = read_revocations(base.how.state + "/keys/revocations", *revoked); !read)
    return read;
  base.verifier = std::make_shared<auth::verifier>(checks, base.keys->ring, std::move(revoked));
  auth::authority_options how;
  how.accounts.admins.insert(::getuid());
  how.request_life_max_ns = request_life_ns;
  auto signing = auth::key_pair::from_seed(
      std::span<const std::uint8_t, 32>{base.keys->signing.secret().view().first(32)});
  auto made = auth::authority::make(how, std::move(signing), base.verifier, base.clock);
  if (!made)
    return tl::unexpected<error>{made.error()};
  base.authority = std::make_shared<auth::authority>(std::move(*made));
  return {};
}

bool has_bytes(const std::string& path) {
  struct stat there {};
  return ::stat(path.c_str(), &there) == 0 && there.st_size > 0;
}

expected<void> open_ledger(foundation& base, const state::mark& mark) {
  ledger::options how;
  how.path = base.ledger_path = base.how.state + "/ledger.db";
  how.cluster_exists = has_bytes(base.how.state + "/audit.log");
  how.had_head = mark.has_head;
  how.job_seen = actors::spool{base.settings.spool_directory}.newest_job();
  const auto audited = auth::jobs_in_audit(base.how.state + "/audit.log", audit_bytes_read);
  if (!audited)
    return tl::unexpected<error>{audited.error()};
  how.job_ordered = audited->ordered;
  auto opened = ledger::store::open(how, base.clock);
  if (!opened)
    return tl::unexpected<error>{opened.error()};
  base.store = std::make_shared<ledger::store>(std::move(*opened));
  auto past_reader = ledger::reader::open(base.ledger_path);
  if (!past_reader)
    return tl::unexpected<error>{past_reader.error()};
  base.past = std::make_shared<ledger::reader>(std::move(*past_reader));
  base.authority->seed_next_job(base.store->highest_job() + 1);
  const auto now = base.clock.utc();
  auto start = actors::recover_jobs(*base.store);
  if (!start)
    return tl::unexpected<error>{start.error()};
  base.start = std::move(*start);
  const auto reach = std::int64_t{base.config->half_life_s} * half_lives_remembered * ns_per_s;
  auto past = actors::recover_past_work(*base.store, reach == 0 ? 0 : now - reach);
  if (!past)
    return tl::unexpected<error>{past.error()};
  base.start.usage = std::move(past->usage);
  base.start.runs = std::move(past->runs);
  base.start.config = base.config;
  return {};
}

expected<void> find_the_launcher(foundation& base, spdlog::logger& log) {
  base.launcher_place = {find_launcher(), base.how.state + "/launcher",
                         base.how.state + "/launcher/socket"};
  if (auto made = make_directory(base.launcher_place.state); !made)
    return made;
  struct stat known {};
  if (::stat((base.launcher_place.state + "/trust").c_str(), &known) != 0) {
    launch::enrolment who;
    who.cluster_id = base.keys->cluster;
    who.nodes = "1-64";
    who.peer_uid = ::getuid();
    who.root_key = base.keys->root;
    if (auto enrolled = launch::enroll_launcher(base.launcher_place, who); !enrolled)
      return enrolled;
  }
  auto found = launch::find_or_spawn_launcher(base.launcher_place, base.keys->ring->bytes(),
                                              launcher_deadline, &base.launcher_is_new);
  if (!found)
    return tl::unexpected<error>{found.error()};
  log.info("launcher: pid {}", found->launcher().launcher.pid);
  base.launcher = std::make_shared<launch::launcher_client>(std::move(*found));
  return {};
}

} // namespace

expected<std::unique_ptr<foundation>> lay_foundation(const options& how, const state::mark& mark,
                                                     std::shared_ptr<spdlog::logger> log) {
  auto base = std::make_unique<foundation>();
  base->how = how;
  base->settings.cluster_name = "private";
  base->settings.version = TROUPE_VERSION;
  base->settings.state_directory = how.state;
  base->settings.spool_directory = how.state + "/spool";
  base->settings.socket_path = how.socket;
  base->settings.attached_grace_s = how.attached_grace_s;
  if (auto made = make_directory(how.state); !made)
    return tl::unexpected<error>{made.error()};
  if (auto made = make_directory(base->settings.spool_directory); !made)
    return tl::unexpected<error>{made.error()};
  if (auto done = read_configuration(*base); !done)
    return tl::unexpected<error>{done.error()};
  if (auto done = describe_nodes(*base); !done)
    return tl::unexpected<error>{done.error()};
  if (auto done = open_authority(*base); !done)
    return tl::unexpected<error>{done.error()};
  if (auto done = open_ledger(*base, mark); !done)
    return tl::unexpected<error>{done.error()};
  if (auto done = find_the_launcher(*base, *log); !done)
    return tl::unexpected<error>{done.error()};
  return base;
}

expected<std::unique_ptr<private_cluster>>
private_cluster::start(caf::actor_system& system, foundation& base,
                       std::shared_ptr<spdlog::logger> log, std::function<void()> stopped,
                       std::function<void()> failed) {
  auto made = std::unique_ptr<private_cluster>{
      new private_cluster{base.coarse_clock, base.verifier, std::move(log), base.settings}};
  made->world_.on_failure = [log = made->world_.log, failed](const std::string& actor,
                                                             const std::string& why) {
    log->critical("{} failed: {}", actor, why);
    failed();
  };
  if (auto done = made->spawn_all(system, base, std::move(stopped)); !done)
    return tl::unexpected<error>{done.error()};
  return made;
}

private_cluster::private_cluster(const clock_source& clock, std::shared_ptr<auth::verifier> checks,
                                 std::shared_ptr<spdlog::logger> log,
                                 const actors::settings& settings)
    : verifier_{std::move(checks)}, world_{clock,    *verifier_, counters_, std::move(log),
                                           settings, {},         {},        {}} {}

expected<void> private_cluster::spawn_all(caf::actor_system& system, foundation& base,
                                          std::function<void()> stopped) {
  using namespace troupe::actors;
  expected<void> refused;
  auto capability = [&](auth::actor_role role) {
    auto made = base.authority->role_capability(role, ::getuid(), ::getgid());
    if (!made) {
      refused = tl::unexpected<error>{made.error()};
      return verified_capability{};
    }
    return *made;
  };
  auto log =
      auth::audit_log::open(base.how.state + "/audit.log", base.authority->key(), base.clock);
  if (!log)
    return tl::unexpected<error>{log.error()};
  log->tell_heads(
      [journal = auth::system_journal{base.how.journal}, path = base.how.state + "/audit.log",
       cluster = auth::to_hex(base.keys->cluster)](std::uint64_t sequence, const digest& head) {
        const auto hash = auth::to_hex(head);
        const std::array<std::pair<std::string_view, std::string>, 7> entry{{
            {"MESSAGE",
             fmt::format("audit chain of cluster {}: record {} signs {}", cluster, sequence, hash)},
            {"PRIORITY", "6"},
            {"SYSLOG_IDENTIFIER", "troupe-audit"},
            {"TROUPE_CLUSTER", cluster},
            {"TROUPE_AUDIT_LOG", path},
            {"TROUPE_AUDIT_RECORD", std::to_string(sequence)},
            {"TROUPE_AUDIT_HEAD", hash},
        }};
        (void)journal.tell(entry);
      });
  auto audit = std::make_shared<audit_trail>(std::move(*log));
  world_.audit_refusal = [audit](const char* message_type, const verified_capability& cap,
                                 const auth::refusal& why) {
    audit->refused(fmt::format("uid {}", cap.who().uid), cap.who().uid, why.why, message_type);
  };
  world_.timer_cap = capability(auth::actor_role::cluster);
  auto around = std::ref(world_);
  const std::uint64_t root = 0;
  using role = auth::actor_role;

  authority_actor authority = system.spawn<shell<authority_state>, caf::detached>(
      around, root, base.authority, audit, capability(role::authority));
  history_actor history =
      system.spawn<shell<history_state>, caf::detached>(around, root, base.past);
  ledger_actor ledger =
      system.spawn<shell<ledger_state>, caf::detached>(around, root, base.store, history);
  estimator_actor estimator = system.spawn<shell<estimator_state>, caf::detached>(around, root);
  planner_actor planner = system.spawn<shell<planner_state>, caf::detached>(
      around, root, capability(role::planner), estimator);
  auto launcher = system.spawn<shell<launcher_state>>(
      around, root, capability(role::launcher), base.launcher_place,
      bytes{base.keys->ring->bytes().begin(), base.keys->ring->bytes().end()}, base.launcher);

  auto routes = std::make_shared<stream_routes>();
  auto pump = std::make_shared<launch::output_pump>(
      [routes, cap = capability(role::agent)](const launch::output_pump::progress& what) {
        tell(routes->find(what.stream), cap,
             note_output{what.stream, what.bytes, what.ended, what.trouble});
        if (what.ended)
          routes->remove(what.stream);
      });
  auto inputs = std::make_shared<launch::input_pump>(
      [routes, cap = capability(role::agent)](std::uint64_t stream) {
        if (auto task = routes->find(stream))
          tell(task, cap, note_input{stream});
      });
  auto shepherds = std::make_shared<shepherd_routes>();
  auto lines = std::make_shared<launch::shepherd_lines>(
      [shepherds, cap = capability(role::agent)](launch::shepherd_lines::news&& what) {
        tell(shepherds->find(what.line), cap,
             take_shepherd_frame{what.line, std::move(what.frame), what.ended});
        if (what.ended)
          shepherds->remove(what.line);
      });
  auto files = std::make_shared<spool>(base.settings.spool_directory);
  std::set<job_id> unfinished; // which of them stream is not known yet
  for (const auto& job : base.start.jobs)
    unfinished.insert(job.birth.job);
  files->trim_soon(std::move(unfinished));
  const auto node_cap = capability(role::node);
  const auto agent_cap = capability(role::agent);
  auto links = std::make_shared<client_links>();
  scheduler_state::peers to;
  serve_agents agents;
  const auto leaving = leaving_nodes(base.start, base.nodes);
  const auto add_node = [&](const std::shared_ptr<node_inventory const>& offers) {
    node_actor node = system.spawn<shell<node_state_actor>>(around, root, node_cap, offers);
    agent_state::peers beside{node, launcher, pump, files, routes, lines, shepherds, inputs};
    agents.agents[offers->node] = system.spawn<shell<agent_state>>(
        around, node.id(), agent_cap, offers->name, offers->node, beside);
    links->nodes[offers->node] = node;
    links->node_names[offers->node] = offers->name;
    return node_entry{node, {}, 0, offers};
  };
  for (const auto& offers : base.nodes)
    to.nodes.push_back(add_node(offers));
  for (const auto& offers : leaving)
    to.leaving.push_back(add_node(offers));
  to.ledger = ledger;
  to.authority = authority;
  to.planner = planner;
  scheduler_actor scheduler = system.spawn<shell<scheduler_state>>(
      around, root, capability(role::scheduler), to, std::move(base.start));
  if (base.how.paused)
    tell(scheduler, world_.timer_cap, pause_starts{true});
  config_actor config =
      system.spawn<shell<configuration_state>, caf::detached>(around, root, scheduler, base.config);
  for (const auto& [number, node] : links->nodes)
    tell(node, world_.timer_cap, join_node{agents.agents.at(number), scheduler});
  cluster_state::peers below{scheduler, launcher, std::move(stopped)};
  cluster_actor cluster = system.spawn<shell<cluster_state>>(around, root, below);
  keeper_actor keeper = system.spawn<shell<keeper_state>, caf::detached>(around, root);
  observer_actor observer =
      system.spawn<shell<observer_state>>(around, root, capability(role::observer));
  counters_.adopt_orphans(cluster.id());
  tell(launcher, world_.timer_cap, std::move(agents));

  links->authority = authority;
  links->ledger = ledger;
  links->scheduler = scheduler;
  links->observer = observer;
  links->config = config;
  links->cluster = cluster;
  links->keeper = keeper;
  links->gateway = capability(role::gateway);
  if (!refused)
    return refused;
  auto registry = varlink::service_registry::make({"Troupe", "trouped", base.settings.version, ""},
                                                  varlink::embedded_interfaces());
  if (!registry)
    return tl::unexpected<error>{registry.error()};
  links->registry = std::make_shared<varlink::service_registry const>(std::move(*registry));
  varlink::acceptor_options door;
  door.path = base.how.socket;
  auto listening = varlink::acceptor::listen(
      door, [&system, this, links](varlink::accepted_connection connection) {
        system.middleman().spawn_broker(
            client_broker, &world_, std::shared_ptr<client_links const>{links},
            std::make_shared<varlink::accepted_connection>(std::move(connection)));
      });
  if (!listening)
    return tl::unexpected<error>{listening.error()};
  door_ = std::move(*listening);
  return {};
}

} // namespace troupe::daemon
