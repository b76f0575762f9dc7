// Stands between the server and the system (LD_PRELOAD) and lets things go wrong as a test wants.
//
//   MISHAP_CONTROL  a file of eight numbers (64 bits each, of this machine's order) that the test writes while the server
//                   runs, see `enum`
//   MISHAP_MATCH    what the path of a file contains whose operations can fail
//   MISHAP_BOOT     a file to be read in place of /proc/sys/kernel/random/boot_id: another boot of the machine
//
// It counts the operations that change the files concerned, and from number AT to AT + TIMES - 1 something happens to them.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
    LOADED, // set by us: the server has taken this library
    CLOCK,  // microseconds by which the wall clock is wrong
    WHICH,  // operations that are counted, a bit each: 1 write, 2 sync of a file, 4 truncate, 8 rename or remove, 16 create,
            // 32 sync of a folder; zero lets everything be
    AT,
    TIMES,
    HOW,    // an `enum how`
    SEEN,   // operations counted so far
    HITS,   // how many of them something happened to
    NUMBERS
};

enum how {
    NO_SPACE = 1,    // it fails with ENOSPC, and nothing is done
    IO_ERROR = 2,    // it fails with EIO, and nothing is done
    HALF = 3,        // a write is half done and says so; what is no write fails with ENOSPC
    LOST = 4,        // a sync fails with EIO, and what the last write to the file wrote is gone; what is no sync fails with EIO
    KILL_BEFORE = 5, // the process is killed; of a write, half is done
    KILL_AFTER = 6,  // it is done, and then the process is killed
    PRETEND = 7,     // a sync does nothing and says that it has; what is no sync is done
};

static volatile int64_t *control;
static const char *match, *boot;
// Before the log's next operation nothing else can happen to it: it has one writer.
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static struct { int fd; off64_t from; } last_write = {-1, 0};

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("MISHAP_CONTROL");
    match = getenv("MISHAP_MATCH");
    boot = getenv("MISHAP_BOOT");
    if (path == NULL) return;
    int fd = REAL(open64)(path, O_RDWR);
    void *mapped = fd < 0 ? MAP_FAILED : mmap(NULL, NUMBERS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) {
        fprintf(stderr, "MISHAP_CONTROL cannot be used: %s\n", strerror(errno));
        _exit(97);
    }
    close(fd);
    control = mapped;
    control[LOADED] = 1;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int concerns(const char *path) {
    return control != NULL && control[WHICH] != 0 && match != NULL && strstr(path, match) != NULL;
}

static int concerns_fd(int fd, char *path) {
    if (control == NULL || control[WHICH] == 0) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, 4095);
    if (length < 0) return 0;
    path[length] = 0;
    return concerns(path);
}

// What is to happen to an operation of this kind: an `enum how`, or zero.
static int hit(int which) {
    if ((control[WHICH] & which) == 0) return 0;
    pthread_mutex_lock(&one);
    int64_t number = control[SEEN]++;
    int how = number >= control[AT] && number - control[AT] < control[TIMES] ? (int)control[HOW] : 0;
    if (how != 0) control[HITS]++;
    pthread_mutex_unlock(&one);
    return how;
}

// Lets an operation fail that is no write: -1 where it has failed, 0 where it is to be done, 1 where the process is killed
// behind it.
static int before(int which) {
    switch (hit(which)) {
    case 0: case PRETEND: return 0;
    case NO_SPACE: case HALF: errno = ENOSPC; return -1;
    case KILL_BEFORE: die(); return -1;
    case KILL_AFTER: return 1;
    default: errno = EIO; return -1;
    }
}

#define AROUND(which, result, call) \
    int then = before(which); \
    if (then < 0) return -1; \
    result = call; \
    if (then > 0) die();

static ssize_t write_some(int fd, const void *bytes, size_t count, off64_t at, int has_place) {
    char path[4096];
    size_t part = count;
    int how = 0;
    if (concerns_fd(fd, path)) {
        off64_t from = has_place ? at : lseek64(fd, 0, SEEK_CUR);
        pthread_mutex_lock(&one);
        last_write.fd = fd;
        last_write.from = from;
        pthread_mutex_unlock(&one);
        how = hit(1);
    }
    if (how == NO_SPACE || how == IO_ERROR || how == LOST) {
        errno = how == NO_SPACE ? ENOSPC : EIO;
        return -1;
    }
    if (how == HALF || how == KILL_BEFORE) part = count / 2;
    if (how == HALF && part == 0) {
        errno = ENOSPC;
        return -1;
    }
    ssize_t written = has_place ? REAL(pwrite64)(fd, bytes, part, at) : REAL(write)(fd, bytes, part);
    if (how == KILL_BEFORE || how == KILL_AFTER) die();
    return written;
}

ssize_t write(int fd, const void *bytes, size_t count) { return write_some(fd, bytes, count, 0, 0); }

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { return write_some(fd, bytes, count, at, 1); }

static int sync_as(int fd, int (*real)(int)) {
    char path[4096];
    if (!concerns_fd(fd, path)) return real(fd);
    struct stat found;
    int is_folder = fstat(fd, &found) == 0 && S_ISDIR(found.st_mode);
    int how = hit(is_folder ? 32 : 2);
    if (how == KILL_BEFORE) die();
    if (how == PRETEND) return 0;
    if (how == LOST && !is_folder) {
        // The system may drop what it could not write.
        pthread_mutex_lock(&one);
        if (last_write.fd == fd && REAL(ftruncate64)(fd, last_write.from) != 0) die();
        pthread_mutex_unlock(&one);
    }
    if (how != 0 && how != KILL_AFTER) {
        errno = how == NO_SPACE ? ENOSPC : EIO;
        return -1;
    }
    int done = real(fd);
    if (how == KILL_AFTER) die();
    return done;
}

int fdatasync(int fd) { return sync_as(fd, REAL(fdatasync)); }

int fsync(int fd) { return sync_as(fd, REAL(fsync)); }

int ftruncate64(int fd, off64_t length) {
    char path[4096];
    if (!concerns_fd(fd, path)) return REAL(ftruncate64)(fd, length);
    int done;
    AROUND(4, done, REAL(ftruncate64)(fd, length));
    return done;
}

int rename(const char *from, const char *to) {
    if (!concerns(from)) return REAL(rename)(from, to);
    int done;
    AROUND(8, done, REAL(rename)(from, to));
    return done;
}

int unlink(const char *path) {
    if (!concerns(path)) return REAL(unlink)(path);
    int done;
    AROUND(8, done, REAL(unlink)(path));
    return done;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (boot != NULL && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0) path = boot;
    if ((flags & O_CREAT) == 0 || !concerns(path)) return REAL(open64)(path, flags, mode);
    int opened;
    AROUND(16, opened, REAL(open64)(path, flags, mode));
    return opened;
}

int clock_gettime(clockid_t which, struct timespec *time) {
    int done = REAL(clock_gettime)(which, time);
    if (done == 0 && which == CLOCK_REALTIME && control != NULL) {
        int64_t micros = (int64_t)time->tv_sec * 1000000 + time->tv_nsec / 1000 + control[CLOCK];
        time->tv_sec = micros / 1000000;
        time->tv_nsec = micros % 1000000 * 1000;
    }
    return done;
}
