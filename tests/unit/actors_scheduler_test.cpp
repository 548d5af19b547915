// SPDX-License-Identifier: Apache-2.0
#include "config/cluster_config.hpp"
#include "config/latest_time.hpp"
#include "messages/cbor.hpp"
#include "tests/unit/actor_world.hpp"

#include <fmt/format.h>
#include <limits>

// What clients name: queues that are not there, elements that ended long ago, a hundred thousand
// jobs, the same job twice. Everybody is answered, exactly, and nobody else waits for it.

using namespace troupe;
using namespace troupe::test;

namespace {

job_selector::target whole(job_id first, job_id last) {
  return {first, last, std::nullopt};
}

job_selector::target part(job_id job, std::uint64_t first, std::uint64_t last) {
  return {job, job, number_range{first, last}};
}

job_selector named(std::vector<job_selector::target> targets) {
  job_selector selector;
  selector.targets = std::move(targets);
  return selector;
}

job_selector everything() {
  job_selector selector;
  selector.all = true;
  return selector;
}

job_id submitted(actor_world& world, job_spec spec) {
  auto job = world.submit(world.user, std::move(spec));
  world.drain();
  REQUIRE(job->answer);
  if (!*job->answer)
    FAIL(job->answer->error().text);
  return **job->answer;
}

job_spec held(const char* name) {
  auto spec = single(name);
  spec.held = true;
  return spec;
}

template <class M>
expected<typename M::answer> answered(actor_world& world, M message) {
  auto box = world.ask(world.user, std::move(message));
  world.settle();
  REQUIRE(*box);
  return **box;
}

/// The same as an administrator.
template <class M>
expected<typename M::answer> configured_by_admin(actor_world& world, M message) {
  auto box = world.ask(world.scheduler, world.as_admin(world.user), std::move(message));
  world.settle();
  REQUIRE(*box);
  return **box;
}

std::string refusal(const std::shared_ptr<submitted_job>& job) {
  REQUIRE(job->answer);
  REQUIRE_FALSE(*job->answer);
  return job->answer->error().text;
}

std::shared_ptr<cluster_config const> configured(const std::string& toml) {
  auto reading = read_config(toml, "troupe.toml");
  REQUIRE(reading.problems == std::vector<std::string>{});
  return std::make_shared<cluster_config const>(std::move(*reading.config));
}

std::string figure(actor_world& world, const std::string& key) {
  auto answer = world.ask(world.scheduler, world.role(auth::actor_role::observer), get_status{});
  world.settle();
  REQUIRE(*answer);
  REQUIRE(**answer);
  for (const auto& item : (**answer)->items)
    if (item.key == key)
      return item.value;
  return "";
}

std::uint64_t ended_elements(actor_world& world, job_id job) {
  std::uint64_t count = 0;
  (void)world.store().elements_of(job, {0, element_max}, [&](const auto&) { ++count; });
  return count;
}

/// As if `count` jobs like this one had been submitted before the daemon's next life.
void multiply(actor_world& world, job_id like, std::size_t count) {
  const auto payload = world.store().submitted_payload(like);
  REQUIRE(payload);
  auto next = world.store().highest_job();
  while (count > 0) {
    const auto part = std::min<std::size_t>(count, 50'000);
    std::vector<ledger::event> events(part);
    for (auto& event : events) {
      event.job = ++next;
      event.kind = ledger::event_kind::submitted;
      event.payload = *payload;
      event.change.emplace();
      event.change->state = 0;
      event.change->submitted = ledger::submission{world.user.uid, "many", std::nullopt, 1};
    }
    REQUIRE(world.store().append(events));
    count -= part;
  }
  world.crash();
  world.start();
  world.connect_launchers();
  world.drain();
}

} // namespace

// -- admission ------------------------------------------------------------------------

TEST_CASE("a job for a queue that is not there is refused, whatever else it names") {
  actor_world world{1};
  reservation_row row;
  row.name = "r1";
  row.nodes = {"node1"};
  row.start_utc_ns = world.keys.clock.utc() + ns_per_s;
  row.end_utc_ns = row.start_utc_ns + 3600 * ns_per_s;
  row.users = {world.spec_of(submitted(world, held("first"))).name}; // any name
  auto rows = answered(world, list_queue{});
  REQUIRE(rows);
  row.users = {rows->rows.front().user};
  REQUIRE(configured_by_admin(world, make_reservation{row}));
  const std::string sentence = "there is no queue 'nosuch'; this cluster has 'main'";

  auto spec = single("plain");
  spec.queue = "nosuch";
  spec.reservation = "r1";
  auto job = world.submit(world.user, spec);
  world.drain();
  CHECK(refusal(job) == sentence);

  spec.time_limit_s = 600;
  job = world.submit(world.user, spec);
  world.drain();
  CHECK(refusal(job) == sentence);

  spec.time_limit_s = 0;
  job_identity who;
  who.uid = world.user.uid;
  who.user = row.users.front();
  const auto dry = answered(world, check_job{std::make_shared<job_spec const>(spec), who});
  REQUIRE_FALSE(dry);
  CHECK(dry.error().text == sentence);

  spec.queue = "";
  spec.time_limit_s = 600;
  const auto waits = submitted(world, spec);
  job_changes by;
  by.queue = "nosuch";
  by.time_limit_s = 0;
  const auto changed = answered(world, modify_jobs{named({whole(waits, waits)}), by});
  REQUIRE_FALSE(changed);
  CHECK(changed.error().text == fmt::format("job {}: {}", waits, sentence));
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("jobs that are moved together do not pass a queue's limit together") {
  actor_world world{
      1, {3, 4, configured("[queues.main]\ndefault = true\n[queues.small]\njobs_max = 2\n")}};
  std::vector<job_selector::target> all;
  for (int i = 0; i < 5; ++i) {
    const auto job = submitted(world, held("plain"));
    all.push_back(whole(job, job));
  }
  job_changes by;
  by.queue = "small";
  const auto changed = answered(world, modify_jobs{named(all), by});
  REQUIRE(changed);
  CHECK(changed->jobs == 2);
  CHECK(changed->refused.size() == 3);
  const auto queues = answered(world, list_queues{});
  REQUIRE(queues);
  REQUIRE(queues->queues.size() == 2);
  CHECK(queues->queues[0].pending == 3);
  CHECK(queues->queues[1].pending == 2);
}

// -- each once ----------------------------------------------------------------------------

TEST_CASE("a job that is named twice is changed, counted and written once") {
  actor_world world{1};
  auto spec = held("plain");
  spec.begin_utc_ns = world.keys.clock.utc() + 3600 * ns_per_s;
  const auto job = submitted(world, spec);
  const auto twice = named({whole(job, job), whole(job, job), whole(1, job)});
  const auto events = [&] {
    std::size_t count = 0;
    (void)world.store().events_of(job, [&](const auto&) { ++count; });
    return count;
  };
  const auto before = events();
  const auto released = answered(world, release_jobs{twice});
  REQUIRE(released);
  CHECK(released->jobs == 1);
  CHECK(events() == before + 1);
  auto other = submitted(world, held("plain"));
  const auto cancelled =
      answered(world, cancel_jobs{named({whole(other, other), whole(other, other)}), "twice"});
  REQUIRE(cancelled);
  CHECK(cancelled->jobs == 1);
  CHECK(cancelled->elements == 1);
}

TEST_CASE("elements are neither held nor released one by one, and that is said") {
  actor_world world{1};
  auto spec = array_of("plain", 10);
  spec.held = true;
  const auto job = submitted(world, spec);
  const auto released = answered(world, release_jobs{named({part(job, 2, 3)})});
  REQUIRE_FALSE(released);
  CHECK(released.error().text.find("one by one") != std::string::npos);
  const auto rows = answered(world, list_queue{});
  REQUIRE(rows);
  CHECK(rows->rows.front().held);
}

TEST_CASE("what is held is released also while nothing of it waits, for it may wait again") {
  actor_world world{1};
  auto spec = array_of("endless", 14);
  spec.requeue = true;
  const auto job = submitted(world, spec);
  REQUIRE(answered(world, hold_jobs{named({whole(job, job)})}));
  REQUIRE(answered(world, cancel_jobs{named({part(job, 13, 14)}), "enough"}));
  world.drain();
  const auto again = answered(world, hold_jobs{named({whole(job, job)})});
  CHECK((!again && again.error().text.find("nothing that waits") != std::string::npos));
  const auto released = answered(world, release_jobs{named({whole(job, job)})});
  REQUIRE(released);
  CHECK(released->jobs == 1);
  world.launchers[0]->restart(); // what ran there waits again
  world.launchers[0]->connect();
  std::size_t running = 0;
  CHECK(world.run_until([&] {
    running = 0;
    for (const auto& launcher : world.launchers)
      running += launcher->running();
    return running == 12;
  }));
  CHECK(world.violations == std::vector<std::string>{});
}

TEST_CASE("more waiting jobs than one append takes are held, released and cancelled all the same") {
  actor_world world{1};
  constexpr std::size_t count = ledger::events_per_append_max + 100;
  auto spec = held("many");
  spec.begin_utc_ns = world.keys.clock.utc() + 86'400 * ns_per_s; // released ones do not start
  multiply(world, submitted(world, spec), count - 1);
  const auto released = answered(world, release_jobs{everything()});
  REQUIRE(released);
  CHECK(released->jobs == count);
  CHECK(released->refused.empty());
  const auto again = answered(world, hold_jobs{everything()});
  REQUIRE(again);
  CHECK(again->jobs == count);
  const auto cancelled = answered(world, cancel_jobs{everything(), "all of them"});
  REQUIRE(cancelled);
  CHECK(cancelled->jobs == count);
  CHECK(cancelled->refused.empty());
  CHECK(world.run_until([&] { return world.queue_is_empty(); }));
  CHECK(world.planner_status()["audit of its own figures"] == "right");
}

// -- waiting for ends ---------------------------------------------------------------------

TEST_CASE("an element's end is told exactly, however many ended before it") {
  actor_world world{1, {3, 64}};
  auto spec = array_of("failing", 1501);
  const auto job = submitted(world, spec);
  REQUIRE(world.run_until([&] { return ended_elements(world, job) >= 1300; }, 600));
  REQUIRE(ended_elements(world, job) < 1501);
  std::uint32_t last = 0, first = element_max;
  (void)world.store().elements_of(job, {0, element_max}, [&](const auto& row) {
    first = std::min(first, row.element);
    last = std::max(last, row.element);
  });
  const auto ends = answered(world, await_jobs{{part(job, first, first), part(job, last, last)}});
  REQUIRE(ends);
  REQUIRE(ends->ends.size() == 2);
  for (const auto& end : ends->ends) {
    CHECK(end.job == job);
    CHECK(end.exit.state == job_state::failed);
    CHECK(end.exit.exit_code == 3);
  }
  CHECK(ends->ends.front().element == first);
  CHECK(ends->ends.back().element == last);

  const auto all = world.ask(world.user, await_jobs{{part(job, 1, 1501)}});
  REQUIRE(world.run_until([&] { return all->has_value(); }, 600));
  REQUIRE(**all);
  CHECK((**all)->ends.size() == 1501);
  const auto later = answered(world, await_jobs{{part(job, 1450, 1450), whole(job, job)}});
  REQUIRE(later);
  CHECK(later->ends.size() == 1); // the whole of it is the answer to both
}

TEST_CASE("whoever waits for an element that is cancelled before it starts hears of that") {
  actor_world world{1, {1, 1}};
  const auto job = submitted(world, array_of("endless", 10));
  REQUIRE(world.run_until([&] { return !world.started.empty(); }));
  const auto waits = world.ask(world.user, await_jobs{{part(job, 9, 9)}});
  world.settle();
  CHECK_FALSE(waits->has_value());
  REQUIRE(answered(world, cancel_jobs{named({part(job, 8, 10)}), "not these"}));
  world.drain();
  for (const auto& answer : {**waits, answered(world, await_jobs{{part(job, 9, 9)}})}) {
    REQUIRE(answer);
    REQUIRE(answer->ends.size() == 1);
    CHECK(answer->ends.front().element == 9);
    CHECK(answer->ends.front().exit.state == job_state::cancelled);
    CHECK(answer->ends.front().exit.reason == "not these");
  }
}

TEST_CASE("elements that an array does not have cannot be waited for; those that it has can") {
  actor_world world{1};
  const auto job = submitted(world, array_of("brief", 4));
  const auto none = answered(world, await_jobs{{part(job, 70, 80)}});
  REQUIRE_FALSE(none);
  CHECK(none.error().code == errc::not_found);
  const auto lone = submitted(world, held("plain"));
  const auto no_array = answered(world, await_jobs{{part(lone, 1, 1)}});
  REQUIRE_FALSE(no_array);
  CHECK(no_array.error().code == errc::invalid);
  const auto some = world.ask(world.user, await_jobs{{part(job, 3, 80)}});
  REQUIRE(world.run_until([&] { return some->has_value(); }));
  REQUIRE(**some);
  CHECK((**some)->ends.size() == 2);
}

TEST_CASE("elements of a job that is no array are refused, whatever is asked of them, and when") {
  actor_world world{1};
  const auto check = [&](job_id job, std::uint32_t element, errc as) {
    INFO("job " << job);
    const auto refused = [&](const auto& answer) {
      REQUIRE_FALSE(answer);
      CHECK(answer.error().code == as);
    };
    refused(answered(world, show_job{job, element}));
    refused(answered(world, locate_element{job, element, 0}));
    refused(answered(world, await_jobs{{part(job, element, element)}}));
    CHECK(answered(world, show_job{job}));
  };
  const auto changed = [&](job_id job) {
    CHECK_FALSE(answered(world, cancel_jobs{named({part(job, 9, 9)}), {}}));
    CHECK_FALSE(answered(world, signal_jobs{named({part(job, 9, 9)}), 10}));
  };
  const auto waiting = submitted(world, held("plain"));
  const auto running = submitted(world, single("endless"));
  const auto array = submitted(world, array_of("endless", 4));
  const auto over = submitted(world, single("brief"));
  REQUIRE(world.run_until([&] { return world.story_of(over).at(no_element).ends == 1; }, 20));
  for (auto job : {waiting, running, over})
    check(job, 9, errc::invalid);
  check(array, 9, errc::not_found);
  for (auto job : {waiting, running, array})
    changed(job);
  CHECK(answered(world, show_job{array, 3}));
}

TEST_CASE("times that cannot be planned are refused, of jobs and of reservations") {
  actor_world world{1};
  const auto job = submitted(world, held("plain"));
  for (const utc_ns at : {utc_ns{-1}, latest_time_ns + 1, std::numeric_limits<utc_ns>::max(),
                          std::numeric_limits<utc_ns>::min()}) {
    auto spec = single("plain");
    spec.begin_utc_ns = at;
    auto late = world.submit(world.user, spec);
    world.drain();
    REQUIRE((late->answer && !*late->answer));
    CHECK(late->answer->error().text.find("2100-01-01") != std::string::npos);
    job_changes changes;
    changes.begin_utc_ns = at;
    CHECK_FALSE(answered(world, modify_jobs{named({whole(job, job)}), changes}));
    reservation_row kept;
    kept.name = "late";
    kept.nodes = {"node1"};
    kept.start_utc_ns = at < 0 ? at : 0;
    kept.end_utc_ns = at < 0 ? latest_time_ns : at;
    const auto refused = configured_by_admin(world, make_reservation{kept});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text.find("cannot be planned") != std::string::npos);
  }
  auto spec = single("plain");
  spec.begin_utc_ns = latest_time_ns;
  spec.time_limit_s = std::numeric_limits<std::uint32_t>::max();
  const auto last = submitted(world, spec);
  world.advance(10 * ns_per_s);
  world.drain();
  CHECK(answered(world, show_job{last})->row.state == job_state::pending);
}

TEST_CASE("dependencies of which one never holds if the other does are refused") {
  actor_world world{1};
  const auto other = submitted(world, held("plain")), another = submitted(world, held("plain"));
  auto spec = single("plain");
  spec.dependencies = {{dependency_kind::afterok, other},
                       {dependency_kind::afterok, another},
                       {dependency_kind::afternotok, another}};
  auto never = world.submit(world.user, spec);
  world.drain();
  REQUIRE((never->answer && !*never->answer));
  CHECK(never->answer->error().text.find("can never hold both") != std::string::npos);
  spec.dependencies = {{dependency_kind::afterok, other},
                       {dependency_kind::afternotok, another},
                       {dependency_kind::after, other},
                       {dependency_kind::afterany, another}};
  submitted(world, spec);
}

TEST_CASE("an array that was cancelled as a whole tells each element's own end") {
  actor_world world{1};
  auto spec = array_of("plain", 5);
  spec.held = true;
  const auto job = submitted(world, spec);
  const auto waits = world.ask(world.user, await_jobs{{part(job, 2, 4)}});
  world.settle();
  REQUIRE(answered(world, cancel_jobs{named({whole(job, job)}), "no more"}));
  world.drain();
  REQUIRE(waits->has_value());
  REQUIRE(**waits);
  REQUIRE((**waits)->ends.size() == 3);
  for (const auto& end : (**waits)->ends) {
    CHECK(end.element != no_element);
    CHECK(end.exit.state == job_state::cancelled);
    CHECK(end.exit.reason == "no more");
  }
}

TEST_CASE("waiting for many jobs asks the ledger by the page, and too many are refused") {
  actor_world world{1};
  multiply(world, submitted(world, held("many")), 4'999);
  REQUIRE(answered(world, cancel_jobs{everything(), "done"}));
  world.drain();
  const auto runs = submitted(world, held("plain"));
  const auto before = world.counters_of("ledger").admitted.load();
  const auto waits = world.ask(world.user, await_jobs{{whole(1, runs), whole(2, 4'000)}});
  world.settle();
  CHECK_FALSE(waits->has_value());
  CHECK(world.counters_of("ledger").admitted.load() - before <= 10);
  REQUIRE(answered(world, cancel_jobs{named({whole(runs, runs)}), "done"}));
  world.drain();
  REQUIRE(waits->has_value());
  REQUIRE(**waits);
  CHECK((**waits)->ends.size() == 5'001);

  const auto many = answered(world, await_jobs{{whole(1, 60'000), whole(70'000, 120'000)}});
  REQUIRE_FALSE(many);
  CHECK(many.error().text.find("at most 100000") != std::string::npos);
  const auto missing = answered(world, await_jobs{{whole(1, runs + 1)}});
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == errc::not_found);
  CHECK(missing.error().text.find(fmt::format("no job {}", runs + 1)) != std::string::npos);
  CHECK(figure(world, "clients waiting for ends") == "0");
}

TEST_CASE("nothing is kept for a client that has gone") {
  actor_world world{1};
  const auto job = submitted(world, held("plain"));
  std::vector<caf::actor> clients;
  for (int i = 0; i < 20; ++i)
    clients.push_back(world.system().spawn(
        [to = world.scheduler, cap = world.user.cap, job](caf::event_based_actor* self) {
          const auto ignored = [](caf::error&) {};
          self->request(to, caf::infinite, request<await_jobs>{cap, {{whole(job, job)}}})
              .then([](job_ends&) {}, ignored);
          self->request(to, caf::infinite, request<locate_element>{cap, {job}})
              .then([](element_location&) {}, ignored);
        }));
  world.settle();
  CHECK(figure(world, "clients waiting for ends") == "20");
  CHECK(figure(world, "clients waiting for a place") == "20");
  for (auto& client : clients)
    caf::anon_send_exit(client, caf::exit_reason::kill);
  clients.clear();
  world.settle();
  world.advance(6 * ns_per_s);
  world.settle();
  CHECK(figure(world, "clients waiting for ends") == "0");
  CHECK(figure(world, "clients waiting for a place") == "0");
}

TEST_CASE("one user's calls do not wait for more than so much together") {
  actor_world world{1};
  const auto job = submitted(world, [] {
    auto spec = array_of("plain", 90'000);
    spec.held = true;
    return spec;
  }());
  std::size_t refused = 0;
  for (int i = 0; i < 6; ++i) {
    const auto waits = world.ask(world.user, await_jobs{{part(job, 1, 90'000)}});
    world.settle();
    refused += waits->has_value() && !**waits ? 1 : 0;
  }
  CHECK(refused == 2);
}

// -- configuration --------------------------------------------------------------------------

TEST_CASE("jobs of a new queue start, however many queues there have been") {
  actor_world world{1};
  const std::string main = "[queues.main]\ndefault = true\n";
  for (int i = 0; i < 300; ++i)
    REQUIRE(configured_by_admin(world,
                                apply_config{configured(main + fmt::format("[queues.q{}]\n", i))}));
  auto spec = single("endless");
  spec.queue = "q299";
  const auto job = submitted(world, spec);
  CHECK(world.run_until([&] { return world.started.contains({1, job, no_element}); }));
  const auto gone = configured_by_admin(world, apply_config{configured(main)});
  REQUIRE_FALSE(gone);
  CHECK(gone.error().code == errc::conflict);
}

TEST_CASE("a configuration that cannot be taken whole is refused whole") {
  actor_world world{1};
  auto config = *configured("[queues.main]\ndefault = true\n[queues.other]\n");
  config.queues[1].preempts = {"nowhere"};
  config.queues[0].time_max_s = 1;
  const auto done =
      configured_by_admin(world, apply_config{std::make_shared<cluster_config const>(config)});
  REQUIRE_FALSE(done);
  CHECK(done.error().code == errc::invalid);
  const auto queues = answered(world, list_queues{});
  REQUIRE(queues);
  CHECK(queues->queues.size() == 1);
  CHECK(queues->queues.front().time_max_s == 0);
}

TEST_CASE("a limit of a user's own goes with the configuration that gave it") {
  actor_world world{1};
  const auto user = [&] {
    const auto job = submitted(world, held("first"));
    const auto rows = answered(world, list_queue{});
    REQUIRE(rows);
    REQUIRE(answered(world, cancel_jobs{named({whole(job, job)}), ""}));
    return rows->rows.front().user;
  }();
  const std::string main = "[queues.main]\ndefault = true\n";
  REQUIRE(configured_by_admin(
      world, apply_config{configured(main + fmt::format("[users.{}]\nrunning_max = 1\n", user))}));
  for (int i = 0; i < 3; ++i)
    submitted(world, single("endless"));
  world.drain();
  CHECK(world.started.size() == 1);
  REQUIRE(configured_by_admin(world, apply_config{configured(main)}));
  world.drain();
  CHECK(world.started.size() == 3);
}

TEST_CASE(
    "a job that is on its way to the disk while the default queue changes is counted where it "
    "was taken") {
  actor_world world{1};
  auto job = world.submit(world.user, held("plain"));
  world.settle_without(world.ledger);
  auto both = *configured("[queues.main]\n[queues.other]\ndefault = true\n");
  both.path.clear();
  const auto changed = world.ask(world.scheduler, world.as_admin(world.user),
                                 apply_config{std::make_shared<cluster_config const>(both)});
  world.drain();
  REQUIRE(changed->has_value());
  REQUIRE(**changed);
  REQUIRE(job->answer);
  REQUIRE(*job->answer);
  REQUIRE(answered(world, cancel_jobs{everything(), ""}));
  world.drain();
  CHECK(configured_by_admin(world, apply_config{configured("[queues.other]\ndefault = true\n")}));
}
