// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"
#include "config/cluster_config.hpp"
#include "config/duration.hpp"

#define TOML_EXCEPTIONS 0
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <toml++/toml.h>
#include <unistd.h>

// From TOML to a configuration. Each table is read through a `section`, which knows which keys were
// asked for: any other key is an error, so that a misspelt limit does not pass for no limit.

namespace troupe {

namespace {

constexpr std::size_t problems_told_max = 64;
constexpr std::size_t names_max = 1024;
constexpr std::size_t name_bytes_max = 255;

struct problem_list {
  std::string file;
  std::vector<std::string> all;

  void add(const toml::node& at, const std::string& key, const std::string& why) {
    if (all.size() < problems_told_max)
      all.push_back(fmt::format("{}:{}: {}: {}", file, at.source().begin.line, key, why));
  }
};

const char* word_for(toml::node_type type) {
  switch (type) {
  case toml::node_type::table: return "a table";
  case toml::node_type::array: return "a list";
  case toml::node_type::string: return "a string";
  case toml::node_type::integer: return "a whole number";
  case toml::node_type::floating_point: return "a number with a point";
  case toml::node_type::boolean: return "true or false";
  default: return "a date or time";
  }
}

/// Names that go into tables and on terminals: letters, digits and - _ . @ inside.
bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= name_bytes_max && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.' || c == '@' || c == '+';
         });
}

std::string list_of(const std::vector<std::string_view>& words) {
  std::string text;
  for (const auto& word : words)
    text += (text.empty() ? "" : ", ") + std::string{word};
  return text;
}

/// One table of the file.
class section {
public:
  section(const toml::table& table, std::string path, problem_list& problems)
      : table_{table}, path_{std::move(path)}, problems_{problems} {}
  section(const section&) = delete;
  section& operator=(const section&) = delete;

  ~section() {
    for (const auto& [key, node] : table_)
      if (!known_.contains(key.str()))
        problems_.add(node, key_path(key.str()),
                      "there is no such key; here are " + list_of(order_));
  }

  std::string key_path(std::string_view key) const {
    return path_.empty() ? std::string{key} : fmt::format("{}.{}", path_, key);
  }

  void wrong(std::string_view key, const std::string& why) {
    const auto* node = table_.get(key);
    problems_.add(node ? *node : static_cast<const toml::node&>(table_), key_path(key), why);
  }

  void read(std::string_view key, bool& to) {
    if (const auto* node = find(key, toml::node_type::boolean))
      to = node->as_boolean()->get();
  }

  template <class T>
  void read_number(std::string_view key, T& to, std::int64_t least, std::int64_t most) {
    const auto* node = find(key, toml::node_type::integer);
    if (!node)
      return;
    const auto value = node->as_integer()->get();
    if (value < least || value > most)
      wrong(key, fmt::format("{} is not from {} to {}", value, least, most));
    else
      to = static_cast<T>(value);
  }

  /// A string such as "2h"; "none" is 0 where that is allowed.
  void read_duration(std::string_view key, std::uint32_t& to, bool may_be_none) {
    const auto* node = find(key, toml::node_type::string);
    if (!node)
      return;
    const auto& text = node->as_string()->get();
    if (may_be_none && text == "none") {
      to = 0;
      return;
    }
    if (auto seconds = parse_duration_s(text))
      to = *seconds;
    else
      wrong(key, seconds.error().text + (may_be_none ? ", or none" : ""));
  }

  void read_name(std::string_view key, std::string& to) {
    const auto* node = find(key, toml::node_type::string);
    if (!node)
      return;
    const auto& text = node->as_string()->get();
    if (is_name(text))
      to = text;
    else
      wrong(key, no_name(text));
  }

  void read_word(std::string_view key, std::string& to, std::span<const std::string_view> words) {
    const auto* node = find(key, toml::node_type::string);
    if (!node)
      return;
    const auto& text = node->as_string()->get();
    if (std::find(words.begin(), words.end(), text) != words.end())
      to = text;
    else
      wrong(key,
            fmt::format("'{:.80}' is none of {}", text, list_of({words.begin(), words.end()})));
  }

  void read_names(std::string_view key, std::vector<std::string>& to) {
    const auto* node = find(key, toml::node_type::array);
    if (!node)
      return;
    const auto& list = *node->as_array();
    if (list.size() > names_max) {
      wrong(key, fmt::format("has {} names; {} are the limit", list.size(), names_max));
      return;
    }
    std::set<std::string> seen;
    for (const auto& each : list) {
      const auto* text = each.as_string();
      if (!text)
        problems_.add(each, key_path(key),
                      fmt::format("holds {}; names are strings", word_for(each.type())));
      else if (!is_name(text->get()))
        problems_.add(each, key_path(key), no_name(text->get()));
      else if (!seen.insert(text->get()).second)
        problems_.add(each, key_path(key), fmt::format("'{}' is there twice", text->get()));
      else
        to.push_back(text->get());
    }
  }

  /// Calls `each(name, its table)` for every table below `key`, in the file's order.
  template <class F>
  void read_tables(std::string_view key, std::size_t count_max, F each) {
    const auto* node = find(key, toml::node_type::table);
    if (!node)
      return;
    const auto& tables = *node->as_table();
    if (tables.size() > count_max) {
      wrong(key, fmt::format("there are {}; {} are the limit", tables.size(), count_max));
      return;
    }
    std::vector<std::pair<std::string, const toml::node*>> entries;
    for (const auto& [name, inside] : tables)
      entries.emplace_back(std::string{name.str()}, &inside);
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
      const auto left = a.second->source().begin, right = b.second->source().begin;
      return left.line != right.line ? left.line < right.line : left.column < right.column;
    });
    for (const auto& [name, inside] : entries) {
      const auto where = fmt::format("{}.{}", key_path(key), name);
      if (!is_name(name))
        problems_.add(*inside, where, no_name(name));
      else if (const auto* table = inside->as_table())
        each(name, section{*table, where, problems_});
      else
        problems_.add(
            *inside, where,
            fmt::format("is {}, but should be a table: [{}]", word_for(inside->type()), where));
    }
  }

  template <class F>
  void read_table(std::string_view key, F inside) {
    if (const auto* node = find(key, toml::node_type::table))
      inside(section{*node->as_table(), key_path(key), problems_});
  }

private:
  static std::string no_name(const std::string& text) {
    return fmt::format("'{:.80}' is no name; names have 1 to {} letters, digits and - _ . @ +",
                       text, name_bytes_max);
  }

  const toml::node* find(std::string_view key, toml::node_type wanted) {
    known_.insert(key);
    order_.push_back(key);
    const auto* node = table_.get(key);
    if (!node || node->type() == wanted)
      return node;
    wrong(key, fmt::format("is {}, but should be {}", word_for(node->type()), word_for(wanted)));
    return nullptr;
  }

  const toml::table& table_;
  std::string path_;
  problem_list& problems_;
  std::set<std::string_view> known_;
  std::vector<std::string_view> order_;
};

constexpr std::int64_t count_max = 1'000'000'000;

void read_limits(section& from, usage_limits& to) {
  from.read_number("jobs_max", to.jobs_max, 0, count_max);
  from.read_number("running_max", to.running_max, 0, count_max);
  from.read_number("cores_max", to.cores_max, 0, count_max);
}

std::optional<std::uint32_t> group_id_of(const std::string& name) {
  std::vector<char> buffer(64 * 1024);
  group entry{};
  group* found = nullptr;
  if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || !found)
    return std::nullopt;
  return found->gr_gid;
}

void read_queues(section& file, cluster_config& config) {
  std::vector<std::string> defaults;
  config.queues.clear();
  file.read_tables("queues", queues_max, [&](const std::string& name, section&& from) {
    queue_config queue;
    queue.name = name;
    bool is_default = false;
    from.read("default", is_default);
    from.read_number("priority", queue.priority, -queue_priority_max, queue_priority_max);
    from.read_duration("time_default", queue.time_default_s, true);
    from.read_duration("time_max", queue.time_max_s, true);
    read_limits(from, queue.all);
    from.read_table("each_user", [&](section&& limits) { read_limits(limits, queue.each_user); });
    from.read_names("users", queue.users);
    from.read_names("groups", queue.groups);
    for (const auto& group : queue.groups) {
      if (auto id = group_id_of(group))
        queue.group_ids.push_back(*id);
      else
        from.wrong("groups", fmt::format("there is no group '{}' on this machine", group));
    }
    from.read_names("preempts", queue.preempts);
    from.read_duration("grace", queue.grace_s, true);
    if (queue.time_max_s != 0 && queue.time_default_s > queue.time_max_s)
      from.wrong("time_default",
                 fmt::format("{} is more than time_max, {}", format_duration(queue.time_default_s),
                             format_duration(queue.time_max_s)));
    if (queue.grace_s > 3600)
      from.wrong("grace", fmt::format("{} s is more than the limit of 3600 s", queue.grace_s));
    if (is_default)
      defaults.push_back(name);
    if (defaults.size() > 1 && is_default)
      from.wrong("default", fmt::format("'{}' is the default queue already", defaults.front()));
    config.queues.push_back(std::move(queue));
  });
  if (config.queues.empty())
    config.queues = default_config().queues;
  config.default_queue = config.queues.front().name;
  if (!defaults.empty())
    config.default_queue = defaults.front();
  else if (config.find_queue("main"))
    config.default_queue = "main";
}

void check_queues(section& file, const cluster_config& config) {
  for (const auto& queue : config.queues)
    for (const auto& other : queue.preempts) {
      const auto* found = config.find_queue(other);
      const auto where = fmt::format("queues.{}.preempts", queue.name);
      if (!found)
        file.wrong("queues", fmt::format("{}: there is no queue '{}'", where, other));
      else if (other == queue.name)
        file.wrong("queues", fmt::format("{}: a queue cannot preempt itself", where));
      else if (found->priority >= queue.priority)
        file.wrong("queues",
                   fmt::format("{}: '{}' has priority {}, which is not below {} of '{}'", where,
                               other, found->priority, queue.priority, queue.name));
    }
}

void read_accounts(section& file, cluster_config& config) {
  file.read_tables("accounts", accounts_max, [&](const std::string& name, section&& from) {
    account_config account;
    account.name = name;
    from.read_name("parent", account.parent);
    from.read_number("shares", account.shares, 1, weight_max);
    from.read_names("users", account.users);
    config.accounts.push_back(std::move(account));
  });
  // Parents first, so that whoever reads them needs one pass; what never finds its parent is wrong.
  std::vector<account_config> sorted;
  auto left = config.accounts;
  const auto has_parent = [&](const account_config& each) {
    return each.parent.empty() || std::any_of(sorted.begin(), sorted.end(), [&](const auto& known) {
             return known.name == each.parent;
           });
  };
  for (auto moved = true; moved && !left.empty();) {
    const auto before = sorted.size();
    std::vector<account_config> rest;
    for (auto& each : left)
      (has_parent(each) ? sorted : rest).push_back(each);
    left = std::move(rest);
    moved = sorted.size() != before;
  }
  for (const auto& each : left)
    file.wrong("accounts", fmt::format("accounts.{}.parent: {}", each.name,
                                       config.find_account(each.parent)
                                           ? "its parents form a circle"
                                           : "there is no account '" + each.parent + "'"));
  config.accounts = std::move(sorted);
}

void read_file(section& file, cluster_config& config) {
  file.read_table("scheduling", [&](section&& from) {
    from.read("backfill", config.scheduling.backfill);
    from.read_number("reservations", config.scheduling.reservations, 1, reserved_jobs_max);
    from.read_word("order", config.scheduling.order, order_names());
    from.read_word("backfill_order", config.scheduling.backfill_order, order_names());
    from.read_duration("overtake_limit", config.scheduling.overtake_limit_s, true);
  });
  file.read_table("priority", [&](section&& from) {
    from.read_number("age", config.priority.age, 0, weight_max);
    from.read_duration("age_period", config.priority.age_period_s, false);
    from.read_number("size", config.priority.size, 0, weight_max);
    from.read_number("queue", config.priority.queue, 0, weight_max);
    from.read_number("fair_share", config.priority.fair_share, 0, weight_max);
    from.read_number("nice", config.priority.nice, 0, weight_max);
  });
  file.read_table("fair_share", [&](section&& from) {
    from.read_duration("half_life", config.half_life_s, true);
  });
  read_queues(file, config);
  check_queues(file, config);
  read_accounts(file, config);
  file.read_table("each_user", [&](section&& from) { read_limits(from, config.each_user); });
  file.read_tables("users", configured_users_max, [&](const std::string& name, section&& from) {
    auto limits = config.each_user;
    read_limits(from, limits);
    config.users.emplace_back(name, limits);
  });
  file.read_tables("nodes", configured_nodes_max, [&](const std::string& name, section&& from) {
    node_extras node;
    node.name = name;
    std::int64_t gpus = -1;
    from.read_number("gpus", gpus, 0, 64);
    if (gpus >= 0)
      node.gpus = static_cast<std::uint32_t>(gpus);
    from.read_names("features", node.features);
    if (node.features.size() > 64)
      from.wrong("features", fmt::format("has {} names; 64 are the limit", node.features.size()));
    config.nodes.push_back(std::move(node));
  });
}

} // namespace

config_reading read_config(std::string_view text, const std::string& path) {
  config_reading result;
  if (text.size() > config_bytes_max) {
    result.problems.push_back(
        fmt::format("{}: has {} bytes; {} are the limit", path, text.size(), config_bytes_max));
    return result;
  }
  auto parsed = toml::parse(text, path);
  if (!parsed) {
    result.problems.push_back(fmt::format("{}:{}: {}", path, parsed.error().source().begin.line,
                                          parsed.error().description()));
    return result;
  }
  problem_list problems{path, {}};
  cluster_config config = default_config();
  config.path = path;
  {
    section file{parsed.table(), "", problems};
    read_file(file, config);
  }
  result.problems = std::move(problems.all);
  if (result.problems.empty())
    result.config = std::move(config);
  return result;
}

namespace {

/// Waits for nobody: a FIFO in the file's place must not hold who starts a cluster.
expected<std::string> read_regular_file(const std::string& path) {
  const unique_fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat found {};
  if (!file || ::fstat(file.get(), &found) != 0)
    return fail(errc::storage, fmt::format("cannot be read: {}", std::strerror(errno)));
  if (!S_ISREG(found.st_mode))
    return fail(errc::invalid, "is no regular file, which a configuration must be");
  std::string text(config_bytes_max + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const auto got = ::read(file.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return fail(errc::storage, fmt::format("cannot be read: {}", std::strerror(errno)));
    if (got == 0)
      break;
    size += static_cast<std::size_t>(got);
  }
  text.resize(size);
  return text;
}

} // namespace

config_reading read_config_file(const std::string& path) {
  auto text = read_regular_file(path);
  if (text)
    return read_config(*text, path);
  config_reading result;
  result.problems.push_back(fmt::format("{}: {}", path, text.error().text));
  return result;
}

} // namespace troupe
