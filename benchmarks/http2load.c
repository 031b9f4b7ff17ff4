/* http2load: the sink of streamload.c for HTTP/2 in clear text, by prior knowledge.
 *
 *   http2load PORT -c CONNECTIONS -m STREAMS -t SECONDS [-w WARM_UP_SECONDS] [-P PID] -n EVENTS -g GAP_US -s SIZE
 *       asks 127.0.0.1:PORT for /stream STREAMS times on each connection, the requests spread evenly over one gap,
 *       warms up, then measures. Prints {"open": streams that have had an event} when the window opens, and the result
 *       when it closes. -P: the process whose CPU time inside the window is reported.
 *
 * Events are those of streamload's source: "data: ", 16 hex digits of CLOCK_MONOTONIC in ns at the write, 8 of the
 * number in the stream. The delay counts to the read that brought them. Every window is opened as far as it goes, so
 * that nothing is ever sent but the acknowledgements that the protocol asks for. An error is a stream or connection that
 * ends, and an event that is not the next one of its stream; the status is in the field section, which nobody decodes:
 * what is no event shows by itself.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull
#define STAMP 30 /* bytes of an event: prefix and digits */
#define LARGEST (16384 + 9) /* a frame, since no other SETTINGS_MAX_FRAME_SIZE is announced */
enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY };

struct stream { char stamp[STAMP + 1]; long at, seen; }; /* at: where in an event the next byte is */
struct connection {
    int fd, asked, held; /* asked: streams so far; held: bytes of a frame that is not complete */
    struct stream *streams;
    unsigned char frame[LARGEST];
};

static long connections = 8, each = 50, events = 1000000, gap_us = 10000, size = 64;
static enum { WARMING, MEASURING } stage;
static uint64_t count, errors, payload;
static char first_error[96];

static void die(const char *what)
{
    fprintf(stderr, "http2load: %s: %s\n", what, strerror(errno));
    exit(1);
}
static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t)) die("cannot read a clock (has the process of -P ended?)");
    return t.tv_sec * SECOND + t.tv_nsec;
}
static void fail(const char *what)
{
    if (!errors++) snprintf(first_error, sizeof first_error, "%s", what);
}

/* 64 buckets an octave: 1.6 % wide at most */
#define BUCKETS 4096
static uint64_t delays[BUCKETS];
static void observe(uint64_t ns)
{
    int octave = ns < 64 ? 5 : 63 - __builtin_clzll(ns);
    delays[ns < 64 ? (int)ns : (octave - 5) * 64 + (int)(ns >> (octave - 6) & 63)]++;
    count++;
}
static double quantile_us(double q)
{
    uint64_t want = count * q, sum = 0;
    for (int i = 0; i < BUCKETS; i++)
        if ((sum += delays[i]) > want) return (i < 64 ? i : (int64_t)(64 + i % 64) << (i / 64 - 1)) / 1e3;
    return 0;
}

static unsigned char *frame_head(unsigned char *p, int length, int kind, int flags, uint32_t stream)
{
    p[0] = length >> 16; p[1] = length >> 8; p[2] = length;
    p[3] = kind; p[4] = flags;
    stream = htonl(stream);
    memcpy(p + 5, &stream, 4);
    return p + 9;
}
static void say(struct connection *c, const void *data, long length)
{
    if (send(c->fd, data, length, MSG_NOSIGNAL) != length) die("cannot send");
}
static void greet(struct connection *c, int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (void *)&at, sizeof at)) die("no connection");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    static const unsigned char greeting[] =
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        "\0\0\6\4\0\0\0\0\0\0\4\x7f\xff\xff\xff" /* a stream's window: 2^31 - 1 */
        "\0\0\4\x08\0\0\0\0\0\x7f\xff\0\0";      /* the connection's: the same */
    say(c, greeting, sizeof greeting - 1);
}
static unsigned char *literal(unsigned char *p, int name, const char *value) /* of a name of the static table */
{
    int length = strlen(value);
    *p++ = name; /* not added to the table (RFC 7541, section 6.2.2); below 15, as these names are */
    *p++ = length;
    memcpy(p, value, length);
    return p + length;
}
static void ask(struct connection *c)
{
    unsigned char frame[256], *p = frame + 9;
    char path[96];
    snprintf(path, sizeof path, "/stream?n=%ld&gap_us=%ld&size=%ld", events, gap_us, size);
    *p++ = 0x82; /* :method GET */
    *p++ = 0x86; /* :scheme http */
    p = literal(p, 1, "bench"); /* :authority */
    p = literal(p, 4, path);    /* :path */
    frame_head(frame, p - frame - 9, HEADERS, 0x5, 2 * c->asked++ + 1);
    say(c, frame, p - frame);
}

static void event(struct stream *s, uint64_t now)
{
    char number[9] = "", time[17] = "";
    s->stamp[STAMP] = 0;
    memcpy(time, s->stamp + 6, 16);
    memcpy(number, s->stamp + 22, 8);
    uint64_t written = strtoull(time, 0, 16);
    if (memcmp(s->stamp, "data: ", 6) || (long)strtoul(number, 0, 16) != s->seen++) {
        fail("what came is not the next event of its stream");
        return;
    }
    if (stage == MEASURING) observe(now > written ? now - written : 0);
}
static void body(struct stream *s, const unsigned char *p, long length, uint64_t now)
{
    if (stage == MEASURING) payload += length;
    while (length > 0) {
        long run = (s->at < STAMP ? STAMP : size) - s->at;
        if (run > length) run = length;
        if (s->at < STAMP) memcpy(s->stamp + s->at, p, run);
        s->at += run; p += run; length -= run;
        if (s->at == STAMP) event(s, now);
        if (s->at == size) s->at = 0;
    }
}
static void frame(struct connection *c, unsigned char *f, long length, uint64_t now)
{
    uint32_t number;
    memcpy(&number, f + 5, 4);
    number = ntohl(number) & 0x7fffffff;
    int index = (number - 1) / 2, kind = f[3], flags = f[4];
    if (kind == SETTINGS && !(flags & 1)) {
        unsigned char answer[9];
        frame_head(answer, 0, SETTINGS, 1, 0);
        say(c, answer, 9);
    } else if (kind == PING && !(flags & 1)) {
        f[4] = 1;
        say(c, f, 9 + length);
    } else if (kind == DATA && number && index < c->asked) {
        int padding = flags & 8 ? f[9] + 1 : 0;
        body(&c->streams[index], f + 9 + (padding ? 1 : 0), length - padding, now);
        if (flags & 1) fail("a stream has ended");
    } else if (kind == HEADERS && flags & 1) {
        fail("a stream has ended");
    } else if (kind == RST_STREAM || kind == GOAWAY) {
        fail(kind == GOAWAY ? "the connection is to end" : "a stream was reset");
    }
}
static void readable(struct connection *c)
{
    static unsigned char buffer[1 << 18];
    ssize_t k = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (k < 0 && errno == EAGAIN) return;
    if (k <= 0) { fail("the connection has ended"); die("the connection has ended"); }
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    unsigned char *p = buffer, *end = buffer + k;
    while (p < end) {
        if (!c->held && end - p >= 9) { /* whole, where it is: most of them */
            long length = p[0] << 16 | p[1] << 8 | p[2];
            if (length > LARGEST - 9) die("a frame larger than 16 KiB");
            if (end - p >= 9 + length) {
                frame(c, p, length, now);
                p += 9 + length;
                continue;
            }
        }
        long wanted = 9;
        if (c->held >= 9) wanted += c->frame[0] << 16 | c->frame[1] << 8 | c->frame[2];
        if (wanted > LARGEST) die("a frame larger than 16 KiB");
        long run = wanted - c->held < end - p ? wanted - c->held : end - p;
        memcpy(c->frame + c->held, p, run);
        c->held += run; p += run;
        if (c->held >= 9) {
            long length = c->frame[0] << 16 | c->frame[1] << 8 | c->frame[2];
            if (c->held == 9 + length) {
                frame(c, c->frame, length, now);
                c->held = 0;
            }
        }
    }
}

int main(int argc, char **argv)
{
    double seconds = 5, warm_up = 1;
    clockid_t watched = 0;
    int option, port;
    setvbuf(stdout, 0, _IOLBF, 0);
    if (argc < 2 || !(port = atoi(argv[1]))) goto usage;
    optind = 2;
    while ((option = getopt(argc, argv, "c:m:t:w:n:g:s:P:")) > 0) switch (option) {
        case 'c': connections = atol(optarg); break;
        case 'm': each = atol(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'w': warm_up = atof(optarg); break;
        case 'n': events = atol(optarg); break;
        case 'g': gap_us = atol(optarg); break;
        case 's': size = atol(optarg); break;
        case 'P':
            if ((errno = clock_getcpuclockid(atoi(optarg), &watched))) die("-P");
            break;
        default: goto usage;
        }
    if (size < STAMP + 4) goto usage;
    int epoll = epoll_create1(0);
    struct connection *all = calloc(connections, sizeof *all);
    for (long i = 0; i < connections; i++) {
        struct epoll_event e = {EPOLLIN, {.ptr = &all[i]}};
        if (!(all[i].streams = calloc(each, sizeof *all[i].streams))) die("calloc");
        greet(&all[i], port);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &e)) die("epoll_ctl");
    }
    uint64_t start = clock_ns(CLOCK_MONOTONIC), now = start, opens = start + warm_up * SECOND;
    uint64_t closes = opens + seconds * SECOND, cpu = 0, own = 0, opened = 0;
    long begun = 0, total = connections * each;
    while (now < closes) {
        struct epoll_event ready[64];
        /* While streams begin nothing is waited for: each has its instant in the gap. */
        int n = epoll_wait(epoll, ready, 64, begun < total ? 0 : 10);
        for (int i = 0; i < n; i++) readable(ready[i].data.ptr);
        now = clock_ns(CLOCK_MONOTONIC);
        while (begun < total && now >= start + begun * (uint64_t)gap_us * 1000 / total) ask(&all[begun++ % connections]);
        if (stage == WARMING && now >= opens) {
            long open = 0;
            for (long i = 0; i < total; i++) open += all[i % connections].streams[i / connections].seen > 0;
            printf("{\"open\": %ld}\n", open);
            stage = MEASURING;
            cpu = watched ? clock_ns(watched) : 0;
            own = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
            opened = now;
        }
    }
    cpu = watched ? clock_ns(watched) - cpu : 0;
    own = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - own;
    printf("{\"seconds\": %.6f, \"events\": %" PRIu64 ", \"payload_bytes\": %" PRIu64 ", \"errors\": %" PRIu64
           ", \"first_error\": \"%s\", \"delay_p50_us\": %.1f, \"delay_p99_us\": %.1f, \"own_cpu\": %.6f, \"cpu\": %.6f}\n",
           (now - opened) / 1e9, count, payload, errors, first_error, quantile_us(.5), quantile_us(.99), own / 1e9,
           cpu / 1e9);
    return 0;
usage:
    fprintf(stderr, "http2load: the head of http2load.c says how to call it\n");
    return 2;
}
