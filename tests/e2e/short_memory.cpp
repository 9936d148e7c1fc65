// Memory runs out in the server's loop, once, where a test wants it: while the file that KF_SHORT_MEMORY names exists,
// the next object of the main thread of `keyferry` between 10 000 and 11 500 octets gets none, and the file goes. With
// the sample package that is the message with the first SendData. Loaded by LD_PRELOAD; whichever allocator the
// program has goes on to serve it.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <new>

__attribute__((visibility("default"))) void* operator new(std::size_t n) {
  if (n >= 10'000 && n <= 11'500 && ::syscall(SYS_gettid) == ::getpid() &&
      ::strcmp(program_invocation_short_name, "keyferry") == 0) {
    const char* file = ::getenv("KF_SHORT_MEMORY");
    if (file != nullptr && ::unlink(file) == 0) throw std::bad_alloc();
  }
  if (void* p = ::malloc(n == 0 ? 1 : n)) return p;
  throw std::bad_alloc();
}
