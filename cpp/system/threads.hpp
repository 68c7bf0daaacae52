// Threads that work on one call, and how many a call is worth.
#pragma once

#include <string>

namespace rnncore {

// Runs task(argument, 0) ... task(argument, threads - 1) at the same time and waits for all. Throws, and runs none, if
// the system gives no such threads.
void run_in_parallel(int threads, void (*task)(void*, int), void* argument);

// Called by each of these tasks, waits until all have called it.
void meet_the_others();

// How many cores this process may use: those it may run on, or as many as its CPU quotas are worth.
int usable_cores();

// How many whole cores the CPU quotas of a process's control groups allow, at least 1, or 0 if there is no quota. root:
// where the files of the system begin, "" but for tests.
int cores_of_quota(const std::string& root);

// How many threads a layer is worth that has so many floating-point operations for them to share, and so many in each
// step, of those on the way forward or back that are done step by step.
int threads_worth(double operations, double a_step);

}  // namespace rnncore
