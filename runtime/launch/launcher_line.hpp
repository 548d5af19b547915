// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/launch/spawn.hpp"

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

namespace troupe::launch {

/// The one thread of whoever speaks to a launcher: it reads the events of a connection, and when
/// there is none finds the launcher again, or starts another one. Made once, so that nothing can be
/// lacking when a connection breaks.
class launcher_line {
public:
  /// What the thread has to say, on that thread: an event of the connection, a new connection, or
  /// why there is none (of a connection that broke, then `was_connected`).
  struct news {
    std::shared_ptr<event> what;
    std::shared_ptr<launcher_client> connection;
    std::string lost;
    bool was_connected = false;
  };
  using on_news = std::function<void(news&&)>;

  launcher_line(launcher_place place, std::vector<std::uint8_t> keyring, on_news report);
  launcher_line(const launcher_line&) = delete;
  launcher_line& operator=(const launcher_line&) = delete;
  /// Does not wait for the thread, which may be looking for a launcher: it says nothing any more.
  ~launcher_line();

  /// errc::exhausted when there is no thread to be had; may be tried again.
  expected<void> start();
  /// From now on this connection is read; the one before has broken, or there was none.
  void read(std::shared_ptr<launcher_client> connection);
  /// After `delay` a launcher is looked for; its `news` follows.
  void find(std::chrono::milliseconds delay);

private:
  struct work {
    launcher_place place;
    std::vector<std::uint8_t> keyring;
    std::mutex mutex;
    std::condition_variable changed;
    std::shared_ptr<launcher_client> to_read;
    std::optional<std::chrono::steady_clock::time_point> find_at;
    on_news report; ///< empty once nobody listens

    void run();
    void tell(news&& what);
    void read_events(launcher_client& connection);
    void look_for_launcher();
  };

  std::shared_ptr<work> work_;
  bool started_ = false;
};

} // namespace troupe::launch
