// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/launcher_line.hpp"

#include "base/thread.hpp"

namespace troupe::launch {

namespace {

constexpr auto find_deadline = std::chrono::seconds{10};

} // namespace

launcher_line::launcher_line(launcher_place place, std::vector<std::uint8_t> keyring,
                             on_news report)
    : work_{std::make_shared<work>()} {
  work_->place = std::move(place);
  work_->keyring = std::move(keyring);
  work_->report = std::move(report);
}

launcher_line::~launcher_line() {
  const std::lock_guard lock{work_->mutex};
  work_->report = nullptr;
  if (work_->to_read)
    work_->to_read->interrupt();
  work_->changed.notify_all();
}

expected<void> launcher_line::start() {
  if (started_)
    return {};
  auto made = make_thread("the launcher's connection", [work = work_] { work->run(); });
  if (!made)
    return tl::unexpected<error>{made.error()};
  made->detach();
  started_ = true;
  return {};
}

void launcher_line::read(std::shared_ptr<launcher_client> connection) {
  const std::lock_guard lock{work_->mutex};
  work_->to_read = std::move(connection);
  work_->changed.notify_all();
}

void launcher_line::find(std::chrono::milliseconds delay) {
  const std::lock_guard lock{work_->mutex};
  work_->find_at = std::chrono::steady_clock::now() + delay;
  work_->changed.notify_all();
}

void launcher_line::work::run() {
  std::unique_lock lock{mutex};
  while (report) {
    if (auto connection = to_read) {
      lock.unlock();
      read_events(*connection);
      lock.lock();
      if (to_read == connection)
        to_read.reset();
    } else if (find_at && std::chrono::steady_clock::now() >= *find_at) {
      find_at.reset();
      lock.unlock();
      look_for_launcher();
      lock.lock();
    } else if (find_at) {
      changed.wait_until(lock, *find_at);
    } else {
      changed.wait(lock);
    }
  }
}

/// Under the lock: whoever is told cannot go meanwhile.
void launcher_line::work::tell(news&& what) {
  const std::lock_guard lock{mutex};
  if (report)
    report(std::move(what));
}

void launcher_line::work::read_events(launcher_client& connection) {
  for (;;) {
    auto received = connection.receive();
    news heard;
    heard.was_connected = true;
    if (received) {
      heard.what = std::make_shared<event>(std::move(*received));
    } else {
      heard.lost = received.error().text;
      // Whoever else still holds it: for the launcher it has to be over, or it takes no other.
      connection.interrupt();
    }
    tell(std::move(heard));
    if (!received)
      return;
  }
}

void launcher_line::work::look_for_launcher() {
  auto found = find_or_spawn_launcher(place, keyring, find_deadline);
  news heard;
  if (found)
    heard.connection = std::make_shared<launcher_client>(std::move(*found));
  else
    heard.lost = found.error().text;
  tell(std::move(heard));
}

} // namespace troupe::launch
