// Takes the power from a file system: FS_IOC_SHUTDOWN without writing the journal out, as the kernel's own crash tests do.
//
//   cut FOLDER
//
// Source: fs/ext4/ioctl.c (EXT4_IOC_SHUTDOWN), xfstests src/godown.c.

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SHUTDOWN _IOR('X', 125, uint32_t)
#define WITHOUT_JOURNAL 2

int main(int argc, char **argv) {
    uint32_t how = WITHOUT_JOURNAL;
    int folder = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY) : -1;
    if (folder < 0 || ioctl(folder, SHUTDOWN, &how) != 0) {
        fprintf(stderr, "this file system cannot be shut down: %s\n", strerror(errno));
        return 1;
    }
    return 0;
}
