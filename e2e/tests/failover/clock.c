/* Steps the system's clock for one process: CLOCK_REALTIME is off by the seconds that the file named by CLOCK_STEP
   holds, anew at every call. All other clocks are true. For LD_PRELOAD. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    long outcome = syscall(SYS_clock_gettime, clock, time);
    const char *path = getenv("CLOCK_STEP");
    if (outcome != 0 || clock != CLOCK_REALTIME || path == NULL) return (int)outcome;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    char text[32] = {0};
    if (read(file, text, sizeof text - 1) > 0) time->tv_sec += strtol(text, NULL, 10);
    close(file);
    return 0;
}
