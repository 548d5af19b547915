// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace troupe::actors {

/// How many unfinished jobs there are, by queue and user.
class tally {
public:
  void add(const std::string& queue, std::uint32_t uid) {
    ++by_queue_[queue];
    ++by_user_[uid];
    ++by_both_[{queue, uid}];
  }

  void remove(const std::string& queue, std::uint32_t uid) {
    take(by_queue_, queue);
    take(by_user_, uid);
    take(by_both_, std::pair{queue, uid});
  }

  /// A place in a queue for a job that is counted elsewhere until it has moved.
  void claim(const std::string& queue, std::uint32_t uid) {
    ++by_queue_[queue];
    ++by_both_[{queue, uid}];
  }
  void give_up_claim(const std::string& queue, std::uint32_t uid) {
    take(by_queue_, queue);
    take(by_both_, std::pair{queue, uid});
  }

  std::uint64_t in_queue(const std::string& queue) const { return count(by_queue_, queue); }
  std::uint64_t of_user(std::uint32_t uid) const { return count(by_user_, uid); }
  std::uint64_t of_user_in(const std::string& queue, std::uint32_t uid) const {
    return count(by_both_, std::pair{queue, uid});
  }

private:
  template <class Key>
  static std::uint64_t count(const std::map<Key, std::uint64_t>& in, const Key& key) {
    auto at = in.find(key);
    return at == in.end() ? 0 : at->second;
  }
  template <class Key>
  static void take(std::map<Key, std::uint64_t>& in, const Key& key) {
    if (auto at = in.find(key); at != in.end() && --at->second == 0)
      in.erase(at);
  }

  std::map<std::string, std::uint64_t> by_queue_;
  std::map<std::uint32_t, std::uint64_t> by_user_;
  std::map<std::pair<std::string, std::uint32_t>, std::uint64_t> by_both_;
};

} // namespace troupe::actors
