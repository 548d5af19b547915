// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// Specs as execve wants them. Made once per spec, in ordinary memory that a child does get, so that
// between fork and exec nothing is left to do but to copy pointers.

namespace troupe::launcher {

namespace {

constexpr const char* default_path = "/usr/local/bin:/usr/bin:/bin";

/// Names that the launcher sets itself; what a spec says about them is left out.
bool is_own_name(std::string_view entry) {
  static constexpr const char* names[] = {
      "TROUPE_JOB_ID=",     "TROUPE_ELEMENT=", "TROUPE_STEP=",           "TROUPE_NODELIST=",
      "TROUPE_NTASKS=",     "TROUPE_RANK=",    "TROUPE_NODE=",           "TROUPE_SUBMIT_DIR=",
      "TROUPE_LOCAL_RANK=", "TROUPE_GPUS=",    "TROUPE_TASKS_PER_NODE=", "TROUPE_CORES_PER_TASK="};
  for (const char* name : names)
    if (auto length = std::strlen(name);
        entry.size() >= length && std::memcmp(entry.data(), name, length) == 0)
      return true;
  return false;
}

bool starts_with(std::string_view text, const char* prefix) {
  auto length = std::strlen(prefix);
  return text.size() >= length && std::memcmp(text.data(), prefix, length) == 0;
}

/// One allocation: the struct, its pointer arrays, then all strings.
class spec_arena {
public:
  spec_arena(char* at) : at_{at} {}
  const char* copy(std::string_view text) {
    char* start = at_;
    if (!text.empty())
      std::memcpy(at_, text.data(), text.size());
    at_[text.size()] = '\0';
    at_ += text.size() + 1;
    return start;
  }

private:
  char* at_;
};

int make_script(std::string_view script) {
  int fd = ::memfd_create("troupe-script", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  mode_t mode = 0555;
#ifdef MFD_NOEXEC_SEAL
  if (fd < 0 && errno == EACCES) { // vm.memfd_noexec=2; its interpreter reads it, all the same
    fd = ::memfd_create("troupe-script", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    mode = 0444;
  }
#endif
  if (fd < 0)
    return -1;
  for (std::size_t done = 0; done < script.size();) {
    auto put = ::write(fd, script.data() + done, script.size() - done);
    if (put < 0 && errno == EINTR)
      continue;
    if (put <= 0) {
      ::close(fd);
      return -1;
    }
    done += static_cast<std::size_t>(put);
  }
  // What all elements execute must be what was signed, whoever has it open.
  constexpr int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (::fchmod(fd, mode) != 0 || ::fcntl(fd, F_ADD_SEALS, all) != 0) {
    ::close(fd);
    return -1;
  }
  return fd;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
    text = {text.data() + 1, text.size() - 1};
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r'))
    text = {text.data(), text.size() - 1};
  return text;
}

/// "#!interpreter argument" as the kernel reads it; without one, the shell.
void split_interpreter(std::string_view script, std::string_view& interpreter,
                       std::string_view& argument) {
  interpreter = "/bin/sh";
  argument = {};
  if (!starts_with(script, "#!"))
    return;
  const auto* end = static_cast<const char*>(std::memchr(script.data(), '\n', script.size()));
  auto length = end == nullptr ? script.size() : static_cast<std::size_t>(end - script.data());
  auto line = trim({script.data() + 2, length - 2});
  std::size_t split = 0;
  while (split < line.size() && line[split] != ' ' && line[split] != '\t')
    ++split;
  if (split == 0)
    return;
  interpreter = {line.data(), split};
  argument = trim({line.data() + split, line.size() - split});
}

void take_environment(prepared_spec& out, spec_arena& arena) {
  out.path = default_path;
  for (auto env = out.view.env; env.left() > 0;) {
    auto entry = env.next();
    if (is_own_name(entry))
      continue;
    const char* copy = arena.copy(entry);
    out.env[out.envc++] = const_cast<char*>(copy);
    out.has_home = out.has_home || starts_with(entry, "HOME=");
    out.has_user = out.has_user || starts_with(entry, "USER=");
    out.has_logname = out.has_logname || starts_with(entry, "LOGNAME=");
    out.has_shell = out.has_shell || starts_with(entry, "SHELL=");
    if (starts_with(entry, "PATH="))
      out.path = copy + 5;
  }
}

constexpr std::size_t tasks_text_bytes_max = 24; ///< "4294967295(x4294967295),"

/// "4(x2),3": the tasks of each node, in the order of the list of nodes.
char* put_node_tasks(char* at, const auth::order_view& order) {
  at += std::sprintf(at, "TROUPE_TASKS_PER_NODE=");
  for (std::uint32_t node = 0; node < order.node_count;) {
    auto end = node + 1;
    while (end < order.node_count && order.tasks_on(end) == order.tasks_on(node))
      ++end;
    at += std::sprintf(at, "%s%u", node == 0 ? "" : ",", order.tasks_on(node));
    if (end - node > 1)
      at += std::sprintf(at, "(x%u)", end - node);
    node = end;
  }
  return at + 1;
}

} // namespace

prepared_spec* prepare_spec(const std::uint8_t* bytes, std::uint32_t length) {
  auth::exec_spec_view view;
  if (auth::decode_exec_spec({bytes, length}, view))
    return nullptr;
  auto argc = view.argv.left();
  auto envc = view.env.left();
  // Every string of the spec has four bytes of length before it, which become its NUL.
  auto pointers = (std::size_t{argc} + 4 + envc) * sizeof(char*);
  auto size = sizeof(prepared_spec) + pointers + length + 512;
  auto* memory = static_cast<char*>(std::calloc(1, size));
  if (memory == nullptr)
    return nullptr;
  auto& out = *reinterpret_cast<prepared_spec*>(memory);
  out.view = view;
  out.argv = reinterpret_cast<char**>(memory + sizeof(prepared_spec));
  out.env = out.argv + argc + 4;
  out.argc = argc;
  spec_arena arena{memory + sizeof(prepared_spec) + pointers};
  auto place = out.argv;
  for (auto argv = view.argv; argv.left() > 0;)
    *place++ = const_cast<char*>(arena.copy(argv.next()));
  out.cwd = arena.copy(view.cwd);
  out.input = arena.copy(view.stdin_path);
  out.output = arena.copy(view.stdout_path);
  out.error_output = arena.copy(view.stderr_path);
  take_environment(out, arena);
  out.script_fd = -1;
  if (view.has_script) {
    std::string_view interpreter;
    std::string_view argument;
    split_interpreter(view.script, interpreter, argument);
    out.interpreter = arena.copy(interpreter);
    out.interpreter_argument = argument.empty() ? nullptr : arena.copy(argument);
    out.script_fd = make_script(view.script);
    if (out.script_fd < 0) {
      std::free(memory);
      return nullptr;
    }
  }
  return &out;
}

char* prepare_order_strings(const auth::order_view& order, const prepared_spec& spec) {
  auto size = order.user.size() * 2 + order.home.size() + order.shell.size() +
              order.node_name.size() + order.nodelist.size() + order.submit_dir.size() + 512;
  size += order.node_tasks.size() / 4 * tasks_text_bytes_max;
  auto* memory = static_cast<char*>(std::malloc(size));
  if (memory == nullptr)
    return nullptr;
  char* at = memory;
  auto text = [&at](const char* name, std::string_view value) {
    at += std::sprintf(at, "%s=%.*s", name, static_cast<int>(value.size()), value.data()) + 1;
  };
  at += std::sprintf(at, "TROUPE_JOB_ID=%llu", static_cast<unsigned long long>(order.job)) + 1;
  at += std::sprintf(at, "TROUPE_STEP=%u", order.step) + 1;
  at += std::sprintf(at, "TROUPE_NTASKS=%u", order.ranks_total) + 1;
  at += std::sprintf(at, "TROUPE_CORES_PER_TASK=%u", order.cores_per_rank) + 1;
  if (!order.node_tasks.empty())
    at = put_node_tasks(at, order);
  text("TROUPE_NODELIST", order.nodelist);
  text("TROUPE_NODE", order.node_name);
  text("TROUPE_SUBMIT_DIR", order.submit_dir);
  if (!spec.has_home)
    text("HOME", order.home);
  if (!spec.has_user)
    text("USER", order.user);
  if (!spec.has_logname)
    text("LOGNAME", order.user);
  if (!spec.has_shell)
    text("SHELL", order.shell);
  *at = '\0';
  return memory;
}

std::uint32_t find_spec(launcher& l, const digest& spec_digest) {
  auto bucket = load_le<std::uint32_t>(spec_digest.data()) & (buckets - 1);
  for (auto at = l.spec_buckets[bucket]; at != 0; at = l.specs[at - 1].hash_next)
    if (std::memcmp(l.specs[at - 1].digest, spec_digest.data(), spec_digest.size()) == 0)
      return at - 1;
  return none;
}

std::uint32_t keep_spec(launcher& l, byte_view bytes, const digest& spec_digest) {
  if (l.retained_bytes + bytes.size() * 2 > retained_bytes_max)
    return none;
  auto* data = static_cast<std::uint8_t*>(std::malloc(bytes.size()));
  if (data == nullptr)
    return none;
  std::memcpy(data, bytes.data(), bytes.size());
  auto* prepared = prepare_spec(data, static_cast<std::uint32_t>(bytes.size()));
  auto index = prepared == nullptr ? none : l.specs.take();
  if (index == none) {
    std::free(prepared);
    std::free(data);
    return none;
  }
  auto& spec = l.specs[index];
  spec.data = data;
  spec.prepared = prepared;
  spec.bytes = static_cast<std::uint32_t>(bytes.size());
  std::memcpy(spec.digest, spec_digest.data(), spec_digest.size());
  auto& bucket = l.spec_buckets[load_le<std::uint32_t>(spec.digest) & (buckets - 1)];
  spec.hash_next = bucket;
  bucket = index + 1;
  l.retained_bytes += bytes.size() * 2;
  return index;
}

void release_spec(launcher& l, std::uint32_t index) {
  auto& spec = l.specs[index];
  if (spec.references > 0 && --spec.references > 0)
    return;
  auto* link = &l.spec_buckets[load_le<std::uint32_t>(spec.digest) & (buckets - 1)];
  while (*link != index + 1)
    link = &l.specs[*link - 1].hash_next;
  *link = spec.hash_next;
  if (spec.prepared->script_fd >= 0)
    ::close(spec.prepared->script_fd);
  l.retained_bytes -= std::size_t{spec.bytes} * 2;
  std::free(spec.prepared);
  std::free(spec.data);
  l.specs.give_back(index);
}

} // namespace troupe::launcher
