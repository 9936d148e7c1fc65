// A program without any hardening: what test_hardening has to see.
#include <cstdio>
#include <cstring>

int main(int argc, char** argv) {
  char name[32];
  std::strcpy(name, argc > 1 ? argv[1] : "nobody");
  return std::puts(name) < 0 ? 1 : 0;
}
