// CPU quotas of control groups: Linux's way to give a container a part of a machine.
#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#include "threads.hpp"

namespace rnncore {
namespace {

// The first two words of a file, "" where there are none.
struct Words {
  std::string first, second;
  explicit Words(const std::string& path) { std::ifstream(path) >> first >> second; }
};

double number(const std::string& word) {
  std::istringstream stream(word);
  double value = 0;
  return stream >> value ? value : 0;
}

// Cores that a group may use, 0 for all. Version 2 has "quota period" or "max period" in one file, version 1 has two
// files, and -1 for no quota.
double cores_of_group(const std::string& folder) {
  const Words both(folder + "/cpu.max");
  const std::string quota = both.first.empty() ? Words(folder + "/cpu.cfs_quota_us").first : both.first;
  const std::string period = both.first.empty() ? Words(folder + "/cpu.cfs_period_us").first : both.second;
  return number(quota) > 0 && number(period) > 0 ? number(quota) / number(period) : 0;
}

// The least of a group and the groups around it, 0 for no quota. group: "/a/b" under the folder of its kind.
double cores_of_groups(const std::string& folder, std::string group) {
  double least = 0;
  for (bool more = true; more;) {
    const double cores = cores_of_group(folder + group);
    if (cores > 0) least = least > 0 ? std::min(least, cores) : cores;
    const size_t slash = group.rfind('/');
    more = !group.empty() && slash != std::string::npos;
    group.resize(more ? slash : 0);
  }
  return least;
}

}  // namespace

// /proc/self/cgroup has lines "number:controllers:/group", of version 2 "0::/group".
int cores_of_quota(const std::string& root) {
  std::ifstream groups(root + "/proc/self/cgroup");
  double least = 0;
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string group = line.substr(second + 1) == "/" ? "" : line.substr(second + 1);
    if (controllers != ",," && controllers.find(",cpu,") == std::string::npos) continue;
    for (const char* folder :
         {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"}) {
      const double cores = cores_of_groups(root + folder, group);
      if (cores > 0) least = least > 0 ? std::min(least, cores) : cores;
    }
  }
  return least > 0 ? static_cast<int>(std::clamp(least, 1.0, 1e6)) : 0;
}

}  // namespace rnncore
