// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/actor_world.hpp"

#include "actors/authority.hpp"
#include "actors/estimator.hpp"
#include "actors/history.hpp"
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

/// The ledger as all others meet it: it may refuse.
class ledger_gate {
public:
  using interface = ledger_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "ledger gate";

  ledger_gate(self_pointer self, actors::world&, ledger_actor behind,
              const std::function<bool(const append_entries&)>* refuses)
      : self_{self}, behind_{std::move(behind)}, refuses_{refuses} {}

  interface::behavior_type make_behavior(auth::guard_observer& guard) {
    using actors::on;
    const auto pass = [this](auto& what) { return self_->delegate(behind_, std::move(what)); };
    return actors::secure_behavior<ledger_actor>(
        guard, on<get_status>([pass](request<get_status>& what) { return pass(what); }),
        on<tick>([](request<tick>&) {}),
        on<append_entries>(
            [this, pass](request<append_entries>& what) -> caf::result<entries_kept> {
              if (*refuses_ && (*refuses_)(what.msg))
                return auth::to_caf(error{errc::storage, "there is no free space"});
              return pass(what);
            }),
        on<fetch_submission>([pass](request<fetch_submission>& what) { return pass(what); }),
        on<find_request>([pass](request<find_request>& what) { return pass(what); }),
        on<query_history>([pass](request<query_history>& what) { return pass(what); }),
        on<query_estimates>([pass](request<query_estimates>& what) { return pass(what); }),
        on<query_job>([pass](request<query_job>& what) { return pass(what); }),
        on<query_rows>([pass](request<query_rows>& what) { return pass(what); }),
        on<query_ends>([pass](request<query_ends>& what) { return pass(what); }),
        on<locate_element>([pass](request<locate_element>& what) { return pass(what); }),
        on<await_step>([pass](request<await_step>& what) { return pass(what); }),
        on<await_spawned>([pass](request<await_spawned>& what) { return pass(what); }));
  }

private:
  self_pointer self_;
  ledger_actor behind_;
  const std::function<bool(const append_entries&)>* refuses_;
};

/// What goes when the daemon ends. Handles go before the system, the system before its world.
struct actor_world::life {
  explicit life(const clock_source& outside) : clock{outside} {}
  life_clock clock;
  std::shared_ptr<ledger::store> store;
  std::shared_ptr<ledger::reader> past;
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
  make_nodes();
  start();
  connect_launchers();
  settle();
}

/// A launcher stays though its node is not in the cluster any more.
void actor_world::make_nodes() {
  offers_.clear();
  for (std::uint32_t number = 1; number <= shape_.nodes; ++number) {
    offers_.push_back(make_node(number, shape_.cores));
    if (number <= launchers.size())
      continue;
    launchers.push_back(std::make_shared<scripted_launcher>(offers_.back(), keys.clock, random));
    launchers.back()->to.violated = [this](const std::string& what) { violations.push_back(what); };
    launchers.back()->to.started = [this, number](job_id job, std::uint32_t element) {
      ++started[{number, job, element}];
      check_alone(number, job, element);
    };
  }
}

/// An element runs in one incarnation at a time, wherever its parts are.
void actor_world::check_alone(std::uint32_t node, job_id job, std::uint32_t element) {
  const auto own = launchers[node - 1]->incarnation_of(job, element);
  for (const auto& launcher : launchers)
    if (const auto other = launcher->incarnation_of(job, element); own && other && *own != *other)
      violations.push_back(fmt::format("{} runs in incarnations {} and {} at once",
                                       format_id(job, element), *own, *other));
}

void actor_world::start(world_shape shape) {
  shape_ = std::move(shape);
  make_nodes();
  start();
}

void actor_world::write_ledger(const std::vector<ledger::event>& events) {
  for (const auto* end : {"", "-wal", "-shm", ".head"})
    std::filesystem::remove(ledger_path() + end);
  auto opened = ledger::store::open({ledger_path(), 0, 1u << 20}, keys.clock);
  if (!opened)
    FAIL(opened.error().text);
  if (auto kept = opened->append(events); !kept)
    FAIL(kept.error().text);
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
  auto past = ledger::reader::open(ledger_path());
  if (!past)
    FAIL(past.error().text);
  life_->past = std::make_shared<ledger::reader>(std::move(*past));
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
  history_actor history = system.spawn<shell<history_state>>(in, root, life_->past);
  ledger = system.spawn<shell<ledger_state>>(in, root, life_->store, history);
  estimator_actor estimator = system.spawn<shell<estimator_state>>(in, root);
  planner = system.spawn<shell<planner_state>>(in, root, role(actor_role::planner), estimator);
  const ledger_actor gate = system.spawn<shell<ledger_gate>>(in, root, ledger, &refuses_append);
  scheduler_state::peers to{gate, authority, planner, {}, {}};
  const auto add_node = [&](const std::shared_ptr<node_inventory const>& offers) {
    node_actor node =
        system.spawn<shell<node_state_actor>>(in, root, role(actor_role::node), offers);
    nodes.push_back(node);
    const auto& launcher = launchers.at(offers->node - 1);
    life_->agents.push_back(system.spawn<shell<scripted_agent>>(
        in, node.id(), role(actor_role::agent), node, launcher));
    watch(*launcher, static_cast<std::uint32_t>(life_->agents.size() - 1));
    return node_entry{node, {}, 0, offers};
  };
  for (const auto& offers : offers_)
    to.nodes.push_back(add_node(offers));
  for (const auto& offers : leaving_nodes(*start, offers_))
    if (offers->node <= launchers.size())
      to.leaving.push_back(add_node(offers));
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
    if (launcher->has_agent())
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
  auto cap = keys.checks->admit_held(grant->capability, who.holder, keys.clock.read());
  if (!cap)
    FAIL(cap.error().text);
  who.cap = *cap;
  return who;
}

auth::verified_capability actor_world::as_admin(const person& who) {
  auto made = who.cap.fields();
  made.serial = auth::random_bytes<16>();
  made.holder = keys.holder.public_part();
  made.who.role = static_cast<std::uint8_t>(auth::account_role::admin);
  made.verbs = auth::verbs_of(auth::account_role::admin);
  return keys.admit(made);
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

submission actor_world::signed_submission(const person& by, job_spec spec) const {
  auto request = sign(*this, by, spec);
  return {std::make_shared<job_spec const>(std::move(spec)), std::move(request)};
}

answer_box<step_begun> actor_world::run_step(const person& by, job_id job, std::uint32_t element,
                                             job_spec spec) {
  spec.step_of = job;
  spec.step_of_element = element;
  return ask(by, troupe::start_step{job, signed_submission(by, std::move(spec))});
}

// -- looking ------------------------------------------------------------------

std::string actor_world::ledger_path() const {
  return directory_.file("ledger.db");
}

std::string actor_world::audit_path() const {
  return directory_.file("audit.log");
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
