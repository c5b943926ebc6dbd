/* What a process inherits: `inherited print` says it as JSON; `inherited dirty COMMAND…` makes all of it as
 * bad as it can and executes the command.
 *
 * In C, since the runtimes of Rust, Python and Perl and the shell change signals before the first line of a
 * program, and since the C library's own calls refuse two of the signals: the kernel is asked itself.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

enum { SIGNALS = 64 };

/* The kernel's; the C library's has another order. */
struct action {
    void (*handler)(int);
    unsigned long rest[15];
};

/* What the key is called that is part of the dirt. */
#define KEY "twitcher: a key of the daemon's"

static long keyctl(int operation, long keyring, const char *type, const char *key) {
    return syscall(SYS_keyctl, operation, keyring, type, key, 0);
}

static void string(const char *text) {
    putchar('"');
    for (const unsigned char *byte = (const unsigned char *)text; *byte; byte++) {
        if (*byte < 0x20 || *byte == '"' || *byte == '\\')
            printf("\\u%04x", *byte);
        else
            putchar(*byte);
    }
    putchar('"');
}

static void name(const char *text) {
    printf("  ");
    string(text);
    printf(": ");
}

static void number(const char *text, long value) {
    name(text);
    printf("%ld,\n", value);
}

static void truth(const char *text, int value) {
    name(text);
    printf("%s,\n", value ? "true" : "false");
}

/* The first line of a file, without its end. */
static void line_of(const char *text, const char *path) {
    char line[4096] = "";
    FILE *file = fopen(path, "re");
    if (file) {
        if (!fgets(line, sizeof line, file))
            line[0] = 0;
        fclose(file);
    }
    line[strcspn(line, "\n")] = 0;
    name(text);
    string(line);
    printf(",\n");
}

static void descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    name("descriptors");
    printf("[");
    const char *separator = "";
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        int descriptor = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || descriptor == dirfd(folder))
            continue;
        char path[64], target[4096] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
        if (readlink(path, target, sizeof target - 1) < 0)
            target[0] = 0;
        int flags = fcntl(descriptor, F_GETFL);
        static const char *const access[] = {"read", "write", "read and write", "?"};
        /* The number of a pipe is another one each time. */
        if (!strncmp(target, "pipe:", 5))
            target[4] = 0;
        printf("%s\n    {\"number\": %d, \"file\": ", separator, descriptor);
        string(target);
        printf(", \"access\": \"%s\", \"append\": %s, \"nonblocking\": %s}", access[flags & O_ACCMODE],
               flags & O_APPEND ? "true" : "false", flags & O_NONBLOCK ? "true" : "false");
        separator = ",";
    }
    closedir(folder);
    printf("\n  ],\n");
}

static void signals(void) {
    uint64_t blocked = 0, pending = 0;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &blocked, 8);
    syscall(SYS_rt_sigpending, &pending, 8);
    const char *names[] = {"ignored", "caught", "blocked", "pending"};
    for (int kind = 0; kind < 4; kind++) {
        const char *separator = "";
        name(names[kind]);
        printf("[");
        for (int signal = 1; signal <= SIGNALS; signal++) {
            struct action action = {0};
            syscall(SYS_rt_sigaction, signal, NULL, &action, 8);
            uint64_t bit = UINT64_C(1) << (signal - 1);
            int is[] = {action.handler == SIG_IGN, action.handler != SIG_IGN && action.handler != SIG_DFL,
                        (blocked & bit) != 0, (pending & bit) != 0};
            if (is[kind]) {
                printf("%s%d", separator, signal);
                separator = ", ";
            }
        }
        printf("],\n");
    }
}

static void limits(void) {
    static const struct {
        const char *name;
        int which;
    } all[] = {{"AS", RLIMIT_AS},           {"CORE", RLIMIT_CORE},         {"CPU", RLIMIT_CPU},
               {"DATA", RLIMIT_DATA},       {"FSIZE", RLIMIT_FSIZE},       {"LOCKS", RLIMIT_LOCKS},
               {"MEMLOCK", RLIMIT_MEMLOCK}, {"MSGQUEUE", RLIMIT_MSGQUEUE}, {"NICE", RLIMIT_NICE},
               {"NOFILE", RLIMIT_NOFILE},   {"NPROC", RLIMIT_NPROC},       {"RSS", RLIMIT_RSS},
               {"RTPRIO", RLIMIT_RTPRIO},   {"RTTIME", RLIMIT_RTTIME},     {"SIGPENDING", RLIMIT_SIGPENDING},
               {"STACK", RLIMIT_STACK}};
    name("limits");
    printf("{");
    for (size_t at = 0; at < sizeof all / sizeof *all; at++) {
        struct rlimit limit = {0, 0};
        getrlimit(all[at].which, &limit);
        printf("%s\n    \"%s\": [%llu, %llu]", at ? "," : "", all[at].name,
               (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
    }
    printf("\n  },\n");
}

static void identity(void) {
    uid_t users[3];
    gid_t groups[3], supplementary[1024];
    getresuid(&users[0], &users[1], &users[2]);
    getresgid(&groups[0], &groups[1], &groups[2]);
    name("users");
    printf("[%u, %u, %u],\n", users[0], users[1], users[2]);
    name("groups");
    printf("[%u, %u, %u],\n", groups[0], groups[1], groups[2]);
    int count = getgroups(1024, supplementary);
    name("supplementary groups");
    printf("[");
    for (int at = 0; at < count; at++)
        printf("%s%u", at ? ", " : "", supplementary[at]);
    printf("],\n");

    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {{0, 0, 0}, {0, 0, 0}};
    syscall(SYS_capget, &header, sets);
    uint64_t ambient = 0;
    for (int capability = 0; capability < 64; capability++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0) == 1)
            ambient |= UINT64_C(1) << capability;
    truth("some capability permitted", sets[0].permitted || sets[1].permitted);
    truth("some capability effective", sets[0].effective || sets[1].effective);
    truth("some capability inheritable", sets[0].inheritable || sets[1].inheritable);
    truth("some capability ambient", ambient != 0);
    truth("no new privileges", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    number("secure bits", prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
}

static int print(void) {
    printf("{\n");
    /* First, before this opens anything of its own. */
    descriptors();
    signals();
    mode_t mask = umask(0);
    name("umask");
    printf("\"%03o\",\n", mask);
    char directory[4096] = "";
    if (!getcwd(directory, sizeof directory))
        directory[0] = 0;
    name("directory");
    string(directory);
    printf(",\n");
    name("environment");
    printf("[");
    for (char **variable = environ; *variable; variable++) {
        printf("%s\n    ", variable == environ ? "" : ",");
        string(*variable);
    }
    printf("\n  ],\n");
    number("nice", getpriority(PRIO_PROCESS, 0));
    number("scheduling policy", sched_getscheduler(0));
    number("I/O priority", syscall(SYS_ioprio_get, 1, 0));
    number("timer slack", prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0));
    line_of("OOM score adjustment", "/proc/self/oom_score_adj");
    line_of("cgroup", "/proc/self/cgroup");
    number("personality", personality(0xffffffff));
    int death = -1, reaper = -1;
    prctl(PR_GET_PDEATHSIG, &death);
    prctl(PR_GET_CHILD_SUBREAPER, &reaper);
    number("signal at the parent's death", death);
    number("subreaper", reaper);
    truth("dumpable", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1);
    limits();
    identity();
    truth("leads its process group", getpgrp() == getpid());
    truth("leads its session", getsid(0) == getpid());
    truth("has a terminal", open("/dev/tty", O_RDWR | O_CLOEXEC) >= 0);
    truth("has a key of another's", keyctl(KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", KEY) >= 0);
    number("pid", getpid());
    name("parent");
    printf("%d\n}\n", getppid());
    return fflush(stdout) ? 1 : 0;
}

/* What needs a privilege that is missing is left out. */
static int dirty(char **command) {
    /* A terminal, which this process controls and whose other end it holds open. */
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (setsid() >= 0 && terminal >= 0 && !grantpt(terminal) && !unlockpt(terminal))
        if (open(ptsname(terminal), O_RDWR) < 0)
            perror("a terminal");
    int null = open("/dev/null", O_RDWR);
    dup2(null, 7);
    dup2(null, 77);
    umask(067);
    if (chdir("/proc"))
        perror("/proc");
    errno = 0;
    if (nice(5) < 0 && errno)
        perror("nice");
    FILE *score = fopen("/proc/self/oom_score_adj", "we");
    if (score) {
        fprintf(score, "300\n");
        fclose(score);
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_max = files.rlim_max < 8192 ? files.rlim_max : 8192;
    files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1234567);
    /* A session keyring of its own, with something in it. */
    if (keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, NULL, NULL) < 0
        || syscall(SYS_add_key, "user", KEY, "secret", 6, KEY_SPEC_SESSION_KEYRING) < 0)
        perror("a key");
    struct sched_param parameter = {0};
    sched_setscheduler(0, SCHED_BATCH, &parameter);
    syscall(SYS_ioprio_set, 1, 0, 3 << 13);
    gid_t groups[] = {1, 2, 3};
    if (geteuid() == 0)
        setgroups(3, groups);

    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    if (!syscall(SYS_capget, &header, sets)) {
        sets[0].inheritable = sets[0].permitted;
        sets[1].inheritable = sets[1].permitted;
        syscall(SYS_capset, &header, sets);
        for (int capability = 0; capability < 64; capability++)
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
    }

    for (int signal = 1; signal <= SIGNALS; signal++) {
        struct action ignore = {SIG_IGN, {0}};
        syscall(SYS_rt_sigaction, signal, &ignore, NULL, 8);
    }
    uint64_t all = ~UINT64_C(0);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
    execvp(command[0], command);
    perror(command[0]);
    return 127;
}

int main(int count, char **words) {
    if (count == 2 && !strcmp(words[1], "print"))
        return print();
    if (count > 2 && !strcmp(words[1], "dirty"))
        return dirty(words + 2);
    fprintf(stderr, "usage: inherited print | inherited dirty COMMAND...\n");
    return 2;
}
