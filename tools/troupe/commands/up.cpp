// SPDX-License-Identifier: Apache-2.0
#include "config/cluster_config.hpp"
#include "runtime/state/files.hpp"
#include "runtime/state/locks.hpp"
#include "runtime/varlink/socket_address.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/daemon.hpp"
#include "tools/troupe/paths.hpp"
#include "tools/troupe/shape.hpp"
#include "tools/troupe/values.hpp"

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <memory>

// Purpose: a cluster of one's own. Action: in its turn among up, down and purge, starts trouped in
// a session of its own with its words going to a log file, and waits until it answers. Caveats: a
// cluster that is up is left as it is, whatever was asked. Nothing is remembered here: trouped does
// that, when it has what it needs.

namespace troupe::cli {

namespace {

constexpr std::uint64_t nodes_here_max = 64;
constexpr std::uint64_t cores_here_max = 1024;

struct up_options {
  std::string nodes;
  std::string cores;
  std::string config;
  bool foreground = false;
};

class starter {
public:
  starter(const invocation& run, const up_options& options, std::string state)
      : run_{run}, options_{options}, state_{std::move(state)} {}

  int run() {
    if (auto made = make_private_directory(state_); !made)
      return report(run_, made.error());
    auto turn = state::take_turn(state_, [&](const state::lock_holder& other) {
      notice(run_, "waiting for another 'troupe up' or 'troupe down' (" + describe(other) + ")");
    });
    if (!turn)
      return report(run_, turn.error());
    if (state::is_being_purged(state_))
      return report(run_, state::purge_was_interrupted(state_));
    if (is_socket_elsewhere(state_))
      notice(run_, "TROUPE_SOCKET names another socket than this cluster's, " +
                       state::socket_of(state_) + "; unset it to reach this one");
    auto remembered = state::read_shape(state_);
    if (!remembered)
      return report(run_, remembered.error());
    shape_ = remembered->value_or(default_shape());
    if (auto taken = take_options(); !taken)
      return report_usage(run_, taken.error().text);
    if (auto exit = already_up(remembered->value_or(state::shape{})))
      return *exit;
    return start();
  }

private:
  expected<void> take_options() {
    auto take = [](const char* name, const std::string& text, std::uint64_t most,
                   std::uint32_t& to) -> expected<void> {
      if (text.empty())
        return {};
      auto number = parse_number(text, 1, most);
      if (!number)
        return fail(errc::invalid, std::string{name} + ": " + number.error().text);
      to = static_cast<std::uint32_t>(*number);
      return {};
    };
    if (auto taken = take("--nodes", options_.nodes, nodes_here_max, shape_.nodes); !taken)
      return taken;
    if (auto taken = take("--cores", options_.cores, cores_here_max, shape_.cores); !taken)
      return taken;
    if (!options_.nodes.empty() && options_.cores.empty())
      shape_.cores = std::max(1u, machine_cores() / shape_.nodes);
    if (options_.config.empty())
      return {};
    std::array<char, PATH_MAX> path{};
    if (::realpath(options_.config.c_str(), path.data()) == nullptr)
      return fail(errc::not_found,
                  "--config: " + options_.config + ": " + varlink::system_message(errno));
    shape_.config = path.data();
    return {};
  }

  /// A trouped that serves the directory, though it may only be starting.
  std::optional<int> already_up(const state::shape& serving) {
    if (!state::daemon_of(state_))
      return {};
    auto found = await_daemon(run_, state_);
    if (!found)
      return report(run_, found.error());
    if (!*found)
      return {}; // it has ended meanwhile
    const auto& now = (*found)->value;
    if (now.state == "stopping")
      return report(run_, {errc::conflict, "the cluster is stopping; 'troupe down' waits until it "
                                           "has, and then it can be started again"});
    const state::shape is{now.nodes, now.nodes == 0 ? now.cores : now.cores / now.nodes, {}};
    const auto sized = !options_.nodes.empty() || !options_.cores.empty();
    if (sized && (shape_.nodes != is.nodes || shape_.cores != is.cores))
      return report(run_, {errc::conflict, "a cluster of " + describe(is) + " is up, not of " +
                                               describe(shape_) +
                                               "; run 'troupe down' first to change it"});
    if (!options_.config.empty() && shape_.config != serving.config)
      return report(
          run_, {errc::conflict, "a cluster is up " +
                                     (serving.config.empty() ? std::string{"without --config"}
                                                             : "with --config " + serving.config) +
                                     "; run 'troupe down' first to change it"});
    return tell(**found, "already up");
  }

  int tell(const cluster_now& summary, const char* how) {
    if (run_.json)
      return print(summary.json + "\n") ? exit_code::done : exit_code::failed;
    const auto& now = summary.value;
    const state::shape is{now.nodes, now.nodes == 0 ? now.cores : now.cores / now.nodes, {}};
    const auto sharing = describe_sharing(is);
    const auto text = std::string{how} + ": " + describe(is) + ", socket " +
                      state::socket_of(state_) + "\n" + (sharing.empty() ? "" : sharing + "\n");
    return print(text) ? exit_code::done : exit_code::failed;
  }

  /// The configuration is checked here, where its problems can be read at once.
  expected<void> check_configuration() {
    const auto file = configuration_file(state_, shape_);
    if (file.empty())
      return {};
    const auto reading = read_config_file(file);
    if (reading.config)
      return {};
    auto why = to_error(reading.problems);
    if (options_.config.empty() && !shape_.config.empty())
      why.text += "; an earlier 'troupe up --config' named it: give --config with another file";
    return tl::unexpected{std::move(why)};
  }

  int start() {
    if (auto checked = check_configuration(); !checked)
      return report(run_, checked.error());
    daemon_start how{state_, shape_};
    if (options_.foreground) {
      if (auto sharing = describe_sharing(shape_); !sharing.empty())
        notice(run_, sharing);
      how.foreground = true;
      return report(run_, become_daemon(how));
    }
    auto started = start_daemon(run_, how);
    return started ? tell(*started, "up") : report(run_, started.error());
  }

  const invocation& run_;
  const up_options& options_;
  std::string state_;
  state::shape shape_;
};

int up(const invocation& run, const up_options& options) {
  auto state = usable_state_directory();
  if (!state)
    return report(run, state.error());
  return starter{run, options, std::move(*state)}.run();
}

} // namespace

void define_up(CLI::App& app, invocation& run) {
  app.footer("The cluster runs as you and needs no configuration. Its state is in "
             "TROUPE_STATE_DIR, $XDG_STATE_HOME/troupe or\n"
             "~/.local/state/troupe. After a crash, 'troupe up' finds every job again. A second "
             "'troupe up' changes nothing.");
  auto options = std::make_shared<up_options>();
  app.add_option("--nodes", options->nodes, "how many nodes this machine plays (1, or as before)")
      ->type_name("N");
  app.add_option("--cores", options->cores,
                 "cores of each node (an equal part of this machine's, or as before)")
      ->type_name("C");
  app.add_option("--config", options->config,
                 "the configuration (troupe.toml in the state directory, or as before)")
      ->type_name("FILE");
  app.add_flag("--foreground", options->foreground, "stay here and log to the terminal");
  run.act = [&run, options] { return up(run, *options); };
}

} // namespace troupe::cli
