// A queue of large elements in one piece of memory: std::deque takes an allocation for each of them. Inner header of
// this room; one thread at a time.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace kf::ecc {

template <class T>
class Queue {
 public:
  [[nodiscard]] std::size_t size() const { return items_.size() - head_; }
  [[nodiscard]] bool empty() const { return size() == 0; }
  T& front() { return items_[head_]; }
  const T& front() const { return items_[head_]; }
  T& operator[](std::size_t i) { return items_[head_ + i]; }
  const T& operator[](std::size_t i) const { return items_[head_ + i]; }
  auto begin() { return items_.begin() + static_cast<std::ptrdiff_t>(head_); }
  auto end() { return items_.end(); }

  void push_back(T x) {
    if (head_ > items_.size() / 2 && items_.size() == items_.capacity()) {  // room in front: rather than growing
      items_.erase(items_.begin(), begin());
      head_ = 0;
    }
    items_.push_back(std::move(x));
  }
  void push_front(T x) {
    if (head_ == 0)
      items_.insert(items_.begin(), std::move(x));
    else
      items_[--head_] = std::move(x);
  }
  void pop_front() { drop(1); }
  // The first n go; what they held is let go of at once.
  void drop(std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) items_[head_ + i] = T{};
    head_ += n;
    if (head_ == items_.size()) clear();
  }
  template <class F>
  void erase_if(F&& f) {
    items_.erase(items_.begin(), begin());
    head_ = 0;
    std::erase_if(items_, std::forward<F>(f));
  }
  void clear() {
    items_.clear();  // keeps its memory
    head_ = 0;
  }

 private:
  std::vector<T> items_;
  std::size_t head_ = 0;  // what is before was dropped
};

}  // namespace kf::ecc
