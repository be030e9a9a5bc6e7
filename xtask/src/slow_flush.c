/*
 * Makes every flush take longer, as on a cloud volume or with a synchronous replica: preloaded into a server, it waits
 * for ES_SLOW_FLUSH_US microseconds before each fdatasync and fsync.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static void wait_as_asked(void)
{
    const char *text = getenv("ES_SLOW_FLUSH_US");
    long microseconds = text ? atol(text) : 0;
    struct timespec time = { microseconds / 1000000, (microseconds % 1000000) * 1000 };
    while (nanosleep(&time, &time) != 0) {
        /* A signal came: the rest is waited for. */
    }
}

int fdatasync(int file)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_as_asked();
    return next(file);
}

int fsync(int file)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_as_asked();
    return next(file);
}
