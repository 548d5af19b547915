// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/actor_world.hpp"

#include "actors/authority.hpp"
#include "actors/estimator.hpp"
#include "actors/ledger.hpp"
#include "actors/node.hpp"
#include "actors/planner.hpp"
#include "actors/recovery.hpp"
#include "auth/job_request.hpp"
#include "messages/cbor.hpp"
#include "messages/exec.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <unistd.h>

namespace troupe::test {

namespace {

constexpr std::int64_t request_life_ns = 3600 * ns_per_s;

std::shared_ptr<spdlog::logger> make_log() {
  if (std::getenv("TROUPE_TEST_LOG") != nullptr)
    return std::make_shared<spdlog::logger>("test",
                                            std::make_shared<spdlog::sinks::stderr_sink_st>());
  return std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::null_sink_mt>());
}

std::shared_ptr<node_inventory const> make_node(std::uint32_t number, std::uint32_t cores) {
  auto node = std::make_shared<node_inventory>();
  node->node = number;
  node->name = fmt::format("node{}", number);
  node->memory_bytes = 1ull << 34;
  for (std::uint32_t core = 0; core < cores; ++core)
    node->cores.push_back({{core}, 0, 0});
  return node;
}

signed_request sign(const actor_world& world, const person& by, const job_spec& spec) {
  auth::job_request made;
  made.cluster = world.keys.cluster;
  made.id = auth::random_bytes<16>();
  made.uid = by.uid;
  made.spec_digest = spec_digest(spec);
  made.elements = summary_of_elements(spec);
  made.incarnations_max = incarnations_max(spec);
  made.not_before = world.keys.clock.utc() - ns_per_s;
  made.not_after = world.keys.clock.utc() + 600 * ns_per_s;
  const auto body = auth::encode(made);
  const std::vector<byte_view> bodies{body};
  auto seals = auth::seal_batch(auth::domain::request, 0, by.holder.secret().view(), bodies);
  return {{body.begin(), body.end()}, seals->front()};
}

} // namespace

std::vector<std::uint64_t> seeds(std::uint64_t count) {
  if (const char* given = std::getenv("TROUPE_TEST_SEED"))
    return {std::strtoull(given, nullptr, 10)};
  if (const char* more = std::getenv("TROUPE_TEST_SEEDS"))
    count = std::strtoull(more, nullptr, 10);
  std::vector<std::uint64_t> all;
  for (std::uint64_t seed = 1; seed <= count; ++seed)
    all.push_back(seed);
  return all;
}

quick_directory::quick_directory() {
  const std::string memory = "/dev/shm";
  const auto base = ::access(memory.c_str(), W_OK) == 0
                        ? memory
                        : std::filesystem::temp_directory_path().string();
  path_ = base + "/troupe-actors-XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr)
    FAIL("cannot make a directory in " << base);
}

quick_directory::~quick_directory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

/// The world's time, until the daemon ends: then no capability is good any more, and no actor does
/// what is still in its mailbox.
class life_clock final : public clock_source {
public:
  explicit life_clock(const clock_source& outside) : outside_{outside} {}
  utc_ns utc() const override { return over ? std::numeric_limits<utc_ns>::max() : outside_.utc(); }
  boot_ns boot() const override { return outside_.boot(); }
  bool over = false;

private:
  const clock_source& outside_;
};

/// What goes when the daemon ends. Handles go before the system, the system before its world.
struct actor_world::life {
  explicit life(const clock_source& outside) : clock{outside} {}
  life_clock clock;
  std::shared_ptr<ledger::store> store;
  std::shared_ptr<auth::authority> core;
  std::shared_ptr<actors::audit_trail> audit;
  actors::counter_table counters;
  std::unique_ptr<actors::world> around;
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> system;
  std::vector<agent_actor> agents;
};

actor_world::actor_world(std::uint64_t seed_given, world_shape shape)
    : seed{seed_given}, random{seed_given}, shape_{shape} {
  for (std::uint32_t number = 1; number <= shape.nodes; ++number) {
    offers_.push_back(make_node(number, shape.cores));
    launchers.push_back(std::make_shared<scripted_launcher>(offers_.back(), keys.clock, random));
    launchers.back()->to.violated = [this](const std::string& what) { violations.push_back(what); };
    launchers.back()->to.started = [this, number](job_id job, std::uint32_t element) {
      ++started[{number, job, element}];
    };
  }
  start();
  connect_launchers();
  settle();
}

actor_world::~actor_world() {
  crash();
}

// -- the daemon's lives -------------------------------------------------------

void actor_world::start() {
  life_ = std::make_unique<life>(keys.clock);
  make_world();
  life_->config.set("scheduler.policy", caf::atom("testing"));
  life_->system = std::make_unique<caf::actor_system>(life_->config);
  life_->system->await_actors_before_shutdown(false);
  spawn_all();
  user = log_in(::getuid());
}

/// All that stands before the actors do, as the daemon itself lays it.
void actor_world::make_world() {
  auto opened = ledger::store::open({directory_.file("ledger.db"), 0, 1u << 20}, keys.clock);
  if (!opened)
    FAIL(opened.error().text);
  life_->store = std::make_shared<ledger::store>(std::move(*opened));
  auth::authority_options how;
  how.request_life_max_ns = request_life_ns;
  life_->core = std::make_shared<auth::authority>(keys.make_authority(how));
  life_->core->seed_next_job(life_->store->highest_job() + 1);
  (void)life_->store->recent_requests(
      1000, [&](const ledger::request_id& id, std::uint64_t, utc_ns submitted) {
        life_->core->seed_burned(id, submitted + request_life_ns);
      });
  auto log = auth::audit_log::open(audit_path(), life_->core->key(), keys.clock);
  if (!log)
    FAIL(log.error().text);
  life_->audit = std::make_shared<actors::audit_trail>(std::move(*log));
  actors::settings settings;
  settings.cluster_name = "test";
  settings.state_directory = directory_.path();
  life_->around.reset(new actors::world{
      life_->clock, *keys.checks, life_->counters, make_log(), settings, {}, {}, {}});
  life_->around->on_failure = [this](const std::string& actor, const std::string& why) {
    violations.push_back(actor + " failed: " + why);
  };
  life_->around->audit_refusal = [this](const char* message, const auth::verified_capability& cap,
                                        const auth::refusal& why) {
    refusals.push_back({message, cap.who().uid, why.why});
  };
}

void actor_world::spawn_all() {
  using namespace troupe::actors;
  using auth::actor_role;
  auto& around = *life_->around;
  around.timer_cap = role(actor_role::cluster);
  auto start = recover_jobs(*life_->store);
  if (!start)
    FAIL(start.error().text);
  auto past = recover_past_work(*life_->store, 0);
  if (!past)
    FAIL(past.error().text);
  start->usage = std::move(past->usage);
  start->runs = std::move(past->runs);
  if (shape_.config)
    start->config = shape_.config;
  auto in = std::ref(around);
  const std::uint64_t root = 0;
  auto& system = *life_->system;
  authority = system.spawn<shell<authority_state>>(in, root, life_->core, life_->audit,
                                                   role(actor_role::authority));
  ledger = system.spawn<shell<ledger_state>>(in, root, life_->store);
  estimator_actor estimator = system.spawn<shell<estimator_state>>(in, root);
  planner = system.spawn<shell<planner_state>>(in, root, role(actor_role::planner), estimator);
  scheduler_state::peers to{ledger, authority, planner, {}};
  for (std::size_t i = 0; i < offers_.size(); ++i) {
    node_actor node =
        system.spawn<shell<node_state_actor>>(in, root, role(actor_role::node), offers_[i]);
    nodes.push_back(node);
    to.nodes.push_back({node, {}, 0, offers_[i]});
    life_->agents.push_back(system.spawn<shell<scripted_agent>>(
        in, node.id(), role(actor_role::agent), node, launchers[i]));
    watch(*launchers[i], static_cast<std::uint32_t>(i));
  }
  scheduler = system.spawn<shell<scheduler_state>>(in, root, role(actor_role::scheduler), to,
                                                   std::move(*start));
  for (std::size_t i = 0; i < nodes.size(); ++i)
    tell(nodes[i], around.timer_cap, join_node{life_->agents[i], scheduler});
}

/// What the launcher says goes to its agent; what it hears is held against the ledger.
void actor_world::watch(scripted_launcher& launcher, std::uint32_t index) {
  const auto agent = life_->agents[index];
  const auto cap = role(auth::actor_role::launcher);
  launcher.to.records = [agent, cap](report_records what) {
    actors::tell(agent, cap, std::move(what));
  };
  launcher.to.inventory = [agent, cap](report_inventory what) {
    actors::tell(agent, cap, std::move(what));
  };
  launcher.to.ordered = [this](const auth::order_view& order) { check_order(order); };
  launcher.to.acknowledged = [this](const element_record& what) { check_acknowledged(what); };
}

void actor_world::connect_launchers() {
  for (auto& launcher : launchers)
    launcher->connect();
}

void actor_world::crash() {
  if (!life_)
    return;
  for (auto& launcher : launchers)
    launcher->lose_daemon();
  life_->clock.over = true;
  life_->around->audit_refusal = nullptr;
  for (const auto& row : life_->counters.rows())
    if (auto entry = life_->counters.find(std::to_string(row.id)))
      caf::anon_send_exit(entry->address, caf::exit_reason::kill);
  scheduler = scheduler_actor{};
  ledger = ledger_actor{};
  authority = authority_actor{};
  planner = planner_actor{};
  nodes.clear();
  life_->agents.clear();
  while (coordinator().try_run_once()) {
  }
  for (auto& launcher : launchers) // what died with the others had been put in nobody's hands
    launcher->lose_daemon();
  user.cap = {};
  life_->around->timer_cap = {};
  life_.reset();
}

// -- time and order -----------------------------------------------------------

bool actor_world::step() {
  auto& jobs = coordinator().jobs;
  if (jobs.empty())
    return false;
  const auto drawn = jobs.begin() + static_cast<std::ptrdiff_t>(random.below(jobs.size()));
  std::rotate(jobs.begin(), drawn, drawn + 1);
  coordinator().run_once();
  return true;
}

void actor_world::settle() {
  while (step()) {
  }
}

void actor_world::settle_without(const caf::strong_actor_ptr& stalled) {
  const auto* not_this =
      dynamic_cast<caf::resumable*>(caf::actor_cast<caf::abstract_actor*>(stalled));
  coordinator().run_jobs_filtered([&](caf::resumable* job) { return job != not_this; });
}

caf::strong_actor_ptr actor_world::agent(std::size_t index) {
  return caf::actor_cast<caf::strong_actor_ptr>(life_->agents.at(index));
}

void actor_world::advance(std::int64_t ns) {
  keys.clock.advance(ns);
  coordinator().advance_time(std::chrono::nanoseconds{ns});
}

void actor_world::drain() {
  for (auto busy = true; busy;) {
    settle();
    busy = false;
    for (auto& launcher : launchers) {
      launcher->work();
      launcher->flush();
      while (launcher->deliver())
        busy = true;
    }
  }
}

bool actor_world::run_until(const std::function<bool()>& done, std::uint32_t seconds_max) {
  for (std::uint32_t second = 0; second < seconds_max; ++second) {
    drain();
    if (done())
      return true;
    advance(ns_per_s);
  }
  drain();
  return done();
}

// -- asking -------------------------------------------------------------------

person actor_world::log_in(std::uint32_t uid) {
  person who;
  who.uid = who.gid = uid;
  auto grant = life_->core->login(uid, uid, who.holder.public_part(), std::nullopt);
  if (!grant)
    FAIL(grant.error().text);
  auto cap = keys.checks->admit_held(grant->capability, who.holder, keys.clock.utc());
  if (!cap)
    FAIL(cap.error().text);
  who.cap = *cap;
  return who;
}

auth::verified_capability actor_world::short_lived(const person& who, std::int64_t life_ns) {
  auto made = who.cap.fields();
  made.serial = auth::random_bytes<16>();
  made.holder = keys.holder.public_part();
  made.not_before = keys.clock.utc();
  made.expires = keys.clock.utc() + life_ns;
  return keys.admit(made);
}

auth::verified_capability actor_world::role(auth::actor_role which) {
  auto cap = life_->core->role_capability(which, ::getuid(), ::getgid());
  if (!cap)
    FAIL(cap.error().text);
  return *cap;
}

std::shared_ptr<submitted_job> actor_world::submit(const person& by, job_spec spec) {
  auto job = std::make_shared<submitted_job>();
  job->spec = spec;
  request_warrants asked;
  asked.submissions.push_back(
      {std::make_shared<job_spec const>(std::move(spec)), sign(*this, by, job->spec)});
  auto refused = [job](caf::error& why) {
    job->answer = tl::unexpected<error>{auth::from_caf(why)};
  };
  auto answered = [this, job](jobs_submitted& answer) {
    job->answer = answer.jobs.front();
    if (*job->answer && !store().submitted_payload(**job->answer))
      violations.push_back(fmt::format("job {} was answered before it was durable", **job->answer));
  };
  system().spawn([=, to_authority = authority, to_scheduler = scheduler, cap = by.cap,
                  what = request<request_warrants>{by.cap, std::move(asked)}](
                     caf::event_based_actor* self) {
    self->request(to_authority, caf::infinite, what)
        .then(
            [=](warrants_issued& issued) {
              if (!issued.jobs.front()) {
                job->answer = tl::unexpected<error>{issued.jobs.front().error()};
                return;
              }
              submit_jobs next{{*issued.jobs.front()}};
              self->request(to_scheduler, caf::infinite, request<submit_jobs>{cap, std::move(next)})
                  .then(answered, refused);
            },
            refused);
  });
  return job;
}

// -- looking ------------------------------------------------------------------

std::string actor_world::ledger_path() const {
  return directory_.file("ledger.db");
}

std::string actor_world::audit_path() const {
  return directory_.file("audit.log");
}

std::vector<job_id> actor_world::all_jobs() {
  std::vector<job_id> all;
  for (job_id job = 1; job <= store().highest_job(); ++job)
    if (store().row_of(job))
      all.push_back(job);
  return all;
}

bool actor_world::queue_is_empty() {
  auto rows = ask(user, list_queue{});
  settle();
  return *rows && **rows && (*rows)->value().rows.empty();
}

job_spec actor_world::spec_of(job_id job) {
  auto payload = store().submitted_payload(job);
  auto submitted = from_cbor<submitted_event>(payload ? *payload : bytes{});
  if (!submitted)
    FAIL("the submission of job " << job << " cannot be read");
  return submitted->spec;
}

std::map<std::uint32_t, element_story> actor_world::story_of(job_id job) {
  std::map<std::uint32_t, element_story> all;
  if (const auto& array = spec_of(job).array)
    for (const auto& range : array->ranges)
      for (auto i = range.first; i <= range.last; ++i)
        all[static_cast<std::uint32_t>(i)];
  else
    all[no_element];
  auto end = [&](std::uint32_t element, exit_report exit) {
    ++all[element].ends;
    all[element].exit = std::move(exit);
  };
  auto cancelled = [&](const cancelled_event& what) {
    const exit_report exit{job_state::cancelled, 0, 0, what.reason};
    for (const auto& range : what.elements)
      for (auto i = range.first; i <= range.last; ++i)
        end(static_cast<std::uint32_t>(i), exit);
    if (what.elements.empty() && what.placed.empty())
      for (auto& [element, story] : all)
        end(element, exit);
  };
  (void)store().events_of(job, [&](const ledger::stored_event& stored) {
    if (stored.kind == ledger::event_kind::ended)
      end(stored.element, from_cbor<ended_event>(stored.payload)->exit);
    if (stored.kind == ledger::event_kind::cancelled)
      cancelled(*from_cbor<cancelled_event>(stored.payload));
    if (stored.kind != ledger::event_kind::starting)
      return;
    const auto starting = from_cbor<starting_event>(stored.payload);
    for (auto& [element, story] : all)
      if (starting->element_first <= element && element <= starting->element_last) {
        story.starts.insert(stored.incarnation);
      }
  });
  return all;
}

void actor_world::check_order(const auth::order_view& order) {
  ++ordered;
  const auto stories = story_of(order.job);
  for (std::uint32_t i = 0; i < order.element_count; ++i) {
    const auto at = stories.find(order.element_first + i);
    if (at == stories.end() || !at->second.starts.contains(order.incarnation))
      violations.push_back(fmt::format("{} was ordered before its start was durable",
                                       format_id(order.job, order.element_first + i)));
  }
}

void actor_world::check_acknowledged(const element_record& record) {
  ++acknowledged;
  auto durable = false;
  (void)store().events_of(record.group.job, [&](const ledger::stored_event& stored) {
    const auto over = stored.kind == ledger::event_kind::ended &&
                      stored.element == record.element &&
                      stored.incarnation >= record.group.incarnation;
    durable = durable || over;
    // Unstarted again counts too: that is how a lost element with a requeue goes on.
    if (stored.kind == ledger::event_kind::requeued &&
        stored.incarnation > record.group.incarnation)
      if (auto event = from_cbor<requeued_event>(stored.payload))
        durable = durable ||
                  (event->element_first <= record.element && record.element <= event->element_last);
  });
  if (!durable)
    violations.push_back(fmt::format("the end of {} was acknowledged before it was durable",
                                     format_id(record.group.job, record.element)));
}

std::map<std::string, std::string> actor_world::planner_status() {
  auto answer = ask(planner, role(auth::actor_role::observer), get_status{status_verbosity::debug});
  settle();
  std::map<std::string, std::string> all;
  if (*answer && **answer)
    for (const auto& item : (**answer)->items)
      all[item.key] = item.value;
  return all;
}

actors::actor_counters& actor_world::counters_of(const std::string& actor) {
  auto found = life_->counters.find(actor);
  if (!found)
    FAIL("there is no actor " << actor);
  return *found;
}

actors::counter_table& actor_world::counters() {
  return life_->counters;
}

ledger::store& actor_world::store() {
  return *life_->store;
}

actors::world& actor_world::around() {
  return *life_->around;
}

caf::actor_system& actor_world::system() {
  return *life_->system;
}

caf::scheduler::test_coordinator& actor_world::coordinator() {
  return dynamic_cast<caf::scheduler::test_coordinator&>(life_->system->scheduler());
}

// -- specs --------------------------------------------------------------------

job_spec single(std::string name) {
  job_spec spec;
  spec.name = std::move(name);
  spec.argv = {"/bin/true"};
  spec.cwd = "/";
  return spec;
}

job_spec array_of(std::string name, std::uint32_t elements, std::uint32_t running_max) {
  auto spec = single(std::move(name));
  spec.array.emplace();
  spec.array->ranges = {{1, elements}};
  spec.array->running_max = running_max;
  return spec;
}

job_spec wide(std::string name, std::uint32_t nodes, std::uint32_t tasks) {
  auto spec = single(std::move(name));
  spec.nodes = nodes;
  spec.tasks = tasks;
  return spec;
}

} // namespace troupe::test
