// SPDX-License-Identifier: Apache-2.0
#include "actors/task.hpp"

#include <fmt/format.h>

namespace troupe::actors {

namespace {

/// A reader that stays this far behind makes the writer wait.
constexpr std::uint64_t behind_bytes_max = 64u << 20;
constexpr std::uint32_t chunk_bytes_max = 256 * 1024;
/// How long a reader may wait on with a capability that has ended meanwhile.
constexpr auto recheck_period = std::chrono::seconds{1};

} // namespace

task_state::task_state(self_pointer self, world& around, verified_capability cap, group_key group,
                       std::uint32_t uid, launcher_actor launcher,
                       std::shared_ptr<launch::output_pump> pump,
                       std::shared_ptr<launch::input_pump> inputs, std::shared_ptr<spool> files)
    : self_{self}, world_{around}, cap_{std::move(cap)}, group_{group}, uid_{uid},
      launcher_{std::move(launcher)}, pump_{std::move(pump)},
      input_pump_{std::move(inputs)}, files_{std::move(files)} {}

std::string task_state::display_name() const {
  return fmt::format("task/{}.{}", group_.job, group_.step);
}

task_actor::behavior_type task_state::make_behavior(auth::guard_observer& guard) {
  return secure_behavior<task_actor>(
      guard, on<get_status>([this](request<get_status>&) { return status(); }),
      on<tick>([this](request<tick>&) { recheck_waiting(); }),
      on<write_input>([this](request<write_input>& what) { return write(what); }),
      on<note_input>([this](request<note_input>&) { answer_writers(); }),
      on<read_output>([this](request<read_output>& what) { return read(what); }),
      on<take_stream>([this](request<take_stream>& what) { take(what.msg); }),
      on<note_output>([this](request<note_output>& what) { note(what.msg); }),
      on<forget_group>([this](request<forget_group>&) { group_over(); }));
}

void task_state::on_stop() {
  for (const auto& [id, key] : keys_)
    pump_->remove(id);
  for (const auto& [element, input] : inputs_)
    input_pump_->remove(input.id);
}

/// A stream came, or came again after a reconnect: its file goes on where it ended.
void task_state::take(take_stream& what) {
  if (what.what == take_stream::kind::input)
    return take_input(what);
  unique_fd pipe{what.descriptor};
  const stream_key key{group_.job,   group_.incarnation, group_.step,
                       what.element, what.rank,          what.what == take_stream::kind::errors};
  if (auto at = streams_.find(key); at != streams_.end() && at->second.id == what.stream)
    return;
  const auto limit = world_.config.spool_stream_bytes_max;
  auto open = [files = files_, uid = uid_, key] { return files->open_for_writing(uid, key); };
  if (auto ok = pump_->add(what.stream, std::move(pipe), std::move(open), limit); !ok) {
    // The launcher keeps the stream: its writer waits until it can be read.
    world_.log->warn("{}: {}; trying again", display_name(), ok.error().text);
    tell(launcher_, cap_, lend_again{what.stream});
    return;
  }
  auto& stream = streams_[key];
  stream.id = what.stream;
  stream.limit = limit;
  keys_[what.stream] = key;
}

void task_state::note(note_output& what) {
  auto key = keys_.find(what.stream);
  if (key == keys_.end())
    return;
  auto& stream = streams_[key->second];
  stream.bytes = std::max(stream.bytes, what.bytes);
  stream.trouble = std::move(what.trouble);
  if (!stream.trouble.empty())
    world_.log->warn("{}: rank {}: {}; the rank waits, and it is tried again", display_name(),
                     key->second.rank, stream.trouble);
  if (what.ended && !stream.ended) {
    stream.ended = true;
    tell(launcher_, cap_, drop_stream{what.stream});
  }
  answer_waiting();
}

caf::result<output_chunk> task_state::read(request<read_output>& what) {
  if (auto ok = may_read(what.cap); !ok)
    return auth::to_caf(ok.error());
  if (auto chunk = try_read(what.msg)) {
    if (!*chunk)
      return auth::to_caf(chunk->error());
    return std::move(**chunk);
  }
  auto promise = self_->make_response_promise<output_chunk>();
  waiting_.push_back({std::move(what), promise});
  recheck_later();
  return promise;
}

auth::checked<void> task_state::may_read(const verified_capability& cap) const {
  return cap.permits(verb::job_read, verb::job_read_any, uid_, group_.job, world_.clock.now());
}

/// What can be said now; nothing while the reader has to wait.
std::optional<expected<output_chunk>> task_state::try_read(const read_output& what) {
  output_chunk chunk;
  chunk.offset = what.offset;
  auto at = streams_.find(key_of(what));
  if (at == streams_.end()) {
    chunk.ended = true;
    if (!group_over_ && what.wait)
      return std::nullopt;
    return chunk;
  }
  auto& stream = at->second;
  if (what.offset < stream.bytes) {
    const auto wanted = std::min<std::uint64_t>(
        {stream.bytes - what.offset, what.bytes_max, std::uint64_t{chunk_bytes_max}});
    if (!stream.file)
      stream.file = files_->open_for_reading(uid_, at->first);
    auto data = read_at(stream.file.get(), what.offset, wanted);
    if (!data)
      return tl::unexpected<error>{data.error()};
    chunk.data = std::move(*data);
    if (what.offset + behind_bytes_max > stream.limit) {
      stream.limit = what.offset + 2 * behind_bytes_max;
      pump_->raise_limit(stream.id, stream.limit);
    }
    chunk.ended = stream.ended && what.offset + chunk.data.size() >= stream.bytes;
    return chunk;
  }
  if (!stream.ended && what.wait)
    return std::nullopt;
  chunk.ended = true;
  return chunk;
}

void task_state::answer_waiting() {
  std::erase_if(waiting_, [this](waiting_read& waiting) {
    auto chunk = try_read(waiting.what.msg);
    if (!chunk)
      return false;
    if (auto ok = may_read(waiting.what.cap); !ok) {
      refuse_waiting(waiting, ok.error());
      return true;
    }
    if (!*chunk)
      waiting.promise.deliver(auth::to_caf(chunk->error()));
    else
      waiting.promise.deliver(std::move(**chunk));
    return true;
  });
  const auto all_ended = std::all_of(streams_.begin(), streams_.end(),
                                     [](const auto& each) { return each.second.ended; });
  if (group_over_ && all_ended && waiting_.empty() && writing_.empty())
    self_->quit();
}

/// A reader whose capability has expired or was revoked while it waited is told so.
void task_state::recheck_waiting() {
  recheck_due_ = false;
  std::erase_if(waiting_, [this](waiting_read& waiting) {
    auto ok = may_read(waiting.what.cap);
    if (ok)
      return false;
    refuse_waiting(waiting, ok.error());
    return true;
  });
  recheck_writers();
  recheck_later();
}

void task_state::recheck_later() {
  if ((waiting_.empty() && writing_.empty()) || std::exchange(recheck_due_, true))
    return;
  tick_later(self_, world_, recheck_period);
}

void task_state::refuse_waiting(waiting_read& waiting, const auth::refusal& why) {
  if (world_.audit_refusal)
    world_.audit_refusal(typeid(read_output).name(), waiting.what.cap, why);
  waiting.promise.deliver(auth::to_caf(why));
}

/// The job has ended and is durable; streams still end by themselves.
void task_state::group_over() {
  group_over_ = true;
  answer_writers();
  answer_waiting();
}

status_report task_state::status() const {
  status_report report;
  report.actor = display_name();
  for (const auto& [key, stream] : streams_)
    report.items.push_back(
        {fmt::format("rank {} {}", key.rank, key.error_stream ? "errors" : "output"),
         fmt::format("{} bytes{}{}{}", stream.bytes, stream.ended ? ", ended" : "",
                     stream.trouble.empty() ? "" : "; waits: ", stream.trouble)});
  for (const auto& [element, input] : inputs_)
    report.items.push_back(
        {"input", fmt::format("{} bytes{}", input.bytes, input.closed ? ", closed" : "")});
  report.items.push_back({"readers waiting", fmt::format("{}", waiting_.size())});
  return report;
}

} // namespace troupe::actors
