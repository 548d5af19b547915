// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace troupe::plan {

/// A sorted sequence kept in blocks, each with a summary of its items, so that a search passes over
/// whole blocks that cannot hold what it seeks. Inserting and erasing cost a block, not the list.
///
/// `Item` has operator< (a strict total order). `Summary` is neutral when made and has
/// `add(const Item&)`; it is computed anew when an item goes, so it need not know subtraction.
template <class Item, class Summary>
class blocked_list {
public:
  static constexpr std::size_t block_items_max = 128;

  struct block {
    std::vector<Item> items; ///< never empty
    Summary summary;
  };

  /// Names an item, or the end. Valid until the next change other than `erase` at it.
  struct position {
    std::size_t block = 0;
    std::size_t index = 0;
    bool operator==(const position&) const = default;
  };

  bool empty() const { return blocks_.empty(); }
  std::size_t size() const { return size_; }
  const Item& front() const { return blocks_.front().items.front(); }
  const std::vector<block>& blocks() const { return blocks_; }
  position begin() const { return {}; }
  position end() const { return {blocks_.size(), 0}; }
  const Item& at(position where) const { return blocks_[where.block].items[where.index]; }

  position next(position where) const {
    if (++where.index == blocks_[where.block].items.size())
      where = {where.block + 1, 0};
    return where;
  }

  void clear() {
    blocks_.clear();
    size_ = 0;
  }

  void insert(const Item& item) {
    auto b = block_of(item);
    if (size_++ == 0)
      blocks_.emplace_back().items.reserve(block_items_max);
    else
      b = std::min(b, blocks_.size() - 1);
    auto& items = blocks_[b].items;
    items.insert(std::lower_bound(items.begin(), items.end(), item), item);
    blocks_[b].summary.add(item);
    if (items.size() == block_items_max)
      split(b);
  }

  /// The item equal to `item`, or the end.
  position find(const Item& item) const {
    auto b = block_of(item);
    if (b == blocks_.size())
      return end();
    const auto& items = blocks_[b].items;
    auto at = std::lower_bound(items.begin(), items.end(), item);
    if (at == items.end() || item < *at)
      return end();
    return {b, static_cast<std::size_t>(at - items.begin())};
  }

  /// The first item that is not before `item`, or the end.
  position lower_bound(const Item& item) const {
    auto b = block_of(item);
    if (b == blocks_.size())
      return end();
    const auto& items = blocks_[b].items;
    return {b, static_cast<std::size_t>(std::lower_bound(items.begin(), items.end(), item) -
                                        items.begin())};
  }

  /// Calls f(item) in order until it returns false.
  template <class F>
  void each(F&& f) const {
    for (const auto& here : blocks_)
      for (const auto& item : here.items)
        if (!f(item))
          return;
  }

  /// Answers the position of the item that followed.
  position erase(position where) {
    --size_;
    auto& items = blocks_[where.block].items;
    items.erase(items.begin() + static_cast<std::ptrdiff_t>(where.index));
    if (items.empty()) {
      blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(where.block));
      return {where.block, 0};
    }
    summarise(blocks_[where.block]);
    if (where.index == items.size())
      return {where.block + 1, 0};
    return where;
  }

  /// Changes every item by `change`, which leaves alone what summaries are made of, and restores
  /// the order. Cheap while the order stays as it is, or nearly.
  template <class Change>
  void change_all(Change change) {
    bool sorted = true;
    const Item* before = nullptr;
    for (auto& here : blocks_)
      for (auto& item : here.items) {
        change(item);
        sorted = sorted && (before == nullptr || *before < item);
        before = &item;
      }
    if (!sorted)
      sort_all();
  }

  /// The first item from `from` on that `matches`, looking only into blocks that `may_hold` one.
  template <class MayHold, class Matches>
  position search(position from, MayHold may_hold, Matches matches) const {
    for (; from.block < blocks_.size(); from = {from.block + 1, 0}) {
      const auto& here = blocks_[from.block];
      if (!may_hold(here.summary))
        continue;
      for (; from.index < here.items.size(); ++from.index)
        if (matches(here.items[from.index]))
          return from;
    }
    return end();
  }

private:
  /// The first block whose last item is not before `item`; past the last if there is none.
  std::size_t block_of(const Item& item) const {
    auto at = std::lower_bound(blocks_.begin(), blocks_.end(), item,
                               [](const block& b, const Item& i) { return b.items.back() < i; });
    return static_cast<std::size_t>(at - blocks_.begin());
  }

  void split(std::size_t b) {
    block upper;
    upper.items.reserve(block_items_max);
    auto& items = blocks_[b].items;
    auto middle = items.begin() + block_items_max / 2;
    upper.items.assign(middle, items.end());
    items.erase(middle, items.end());
    summarise(blocks_[b]);
    summarise(upper);
    blocks_.insert(blocks_.begin() + static_cast<std::ptrdiff_t>(b) + 1, std::move(upper));
  }

  void sort_all() {
    std::vector<Item> items;
    items.reserve(size_);
    for (const auto& here : blocks_)
      items.insert(items.end(), here.items.begin(), here.items.end());
    sort_nearly_sorted(items);
    auto next = items.begin();
    for (auto& here : blocks_) {
      auto count = static_cast<std::ptrdiff_t>(here.items.size());
      std::copy(next, next + count, here.items.begin());
      next += count;
      summarise(here);
    }
  }

  /// By insertion as long as few items have far to go.
  static void sort_nearly_sorted(std::vector<Item>& items) {
    auto moves_left = 4 * items.size();
    for (auto at = items.begin(); at != items.end(); ++at) {
      auto place = at;
      while (place != items.begin() && *at < *(place - 1))
        --place;
      auto moves = static_cast<std::size_t>(at - place);
      if (moves > moves_left)
        return std::sort(items.begin(), items.end());
      moves_left -= moves;
      std::rotate(place, at, at + 1);
    }
  }

  static void summarise(block& changed) {
    changed.summary = {};
    for (const auto& item : changed.items)
      changed.summary.add(item);
  }

  std::vector<block> blocks_;
  std::size_t size_ = 0;
};

} // namespace troupe::plan
