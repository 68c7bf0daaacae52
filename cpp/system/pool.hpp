// Threads that wait for work from call to call, because to start one costs as much as a small call.
//
// They belong to the process: who needs some takes them from those that are idle, and they are idle again afterwards.
// They never end, and nothing of theirs is ever destroyed, since a process may come to its end while they work.
#pragma once

#include <vector>

namespace rnncore {

class Pool;
class Worker;

// Some of them, at work together until the end of a block.
class Team {
 public:
  // Throws, and takes none, if the system gives no further thread.
  explicit Team(int workers);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // They begin with task(argument, 1), task(argument, 2) ..., and whoever waits for them is the end of the block.
  void begin(void (*task)(void*, int), void* argument);

 private:
  Pool& pool_;
  std::vector<Worker*> workers_;
};

}  // namespace rnncore
