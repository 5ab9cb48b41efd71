/*
 * Tests of SCSI disks with zones: what they share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "scsi-zbc-driver.h"

/* --- The disk --- */

const Setup standard;
const Setup worn_out = { .worn = true };
const Setup emulated_512 = { .block = 512, .physical = 4096 };
const Setup native_4k = { .block = 4096 };

Kind disk_kind;

char *create_image(const Setup *setup)
{
    g_autofree char *options = setup->plain ? g_strdup("") :
        g_strdup_printf("-o zone.mode=host-managed,zone.size=%" PRIu64
                        ",zone.conventional_zones=%d,zone.max_open_zones=%d%s",
                        (uint64_t)ZONE, NR_CONV, MAX_OPEN, setup->image ?: "");
    char *path = disk_kind == OF_AN_IMAGE
                 ? zoned_image_create(options, setup->size ?: "64M")
                 : zoned_image_create_raw(DISK);

    if (setup->worn && disk_kind == OF_AN_IMAGE) {
        /* 8K of data that nobody wrote */
        zoned_image_wear_out(path, ZONE_RDONLY, 13,
                             ZONE_RDONLY * ZONE + 8 * KiB);
        zoned_image_wear_out(path, ZONE_OFFLINE, 15,
                             ZONE_OFFLINE * ZONE + 8 * KiB);
    }
    return path;
}

static unsigned lun_count(const Setup *setup)
{
    return setup->luns ?: 1;
}

static void add_node(Disk *d, GString *options, unsigned i)
{
    const Setup *setup = d->setup;

    if (d->kind != OF_AN_IMAGE) {
        g_string_append_printf(options, "-blockdev driver=host_device,"
                               "node-name=zoned%u,cache.direct=on,"
                               "filename=%s ", i, d->kind == OF_THE_HOST
                               ? d->image[i] : getenv("ZBC_DISK"));
    } else if (setup->drive) {
        g_string_append_printf(options, "-drive if=none,id=zoned%u,"
                               "format=qcow2,file=%s ", i, d->image[i]);
    } else {
        g_string_append_printf(options, "-blockdev driver=file,"
                               "node-name=file%u,filename=%s ", i,
                               d->image[i]);
        if (setup->debug) {
            g_string_append_printf(options, "-blockdev driver=blkdebug,"
                                   "node-name=debug%u,image=file%u%s ", i, i,
                                   setup->debug);
        }
        g_string_append_printf(options, "-blockdev driver=qcow2,"
                               "node-name=zoned%u,file=%s%u%s ", i,
                               setup->debug ? "debug" : "file", i,
                               setup->blockdev ?: "");
    }
}

static void add_lun(Disk *d, GString *options, unsigned i)
{
    const Setup *setup = d->setup;
    unsigned block = setup->block ?: SECTOR;

    add_node(d, options, i);
    g_string_append_printf(options, "-device %s,id=disk%u,bus=scsi.0,"
                           "scsi-id=0,lun=%u,drive=zoned%u,"
                           "werror=stop,rerror=stop%s",
                           d->kind == PASSED_THROUGH ? "scsi-block" : "scsi-hd",
                           i, i, i, setup->device ?: "");
    if (d->kind != PASSED_THROUGH) {
        g_string_append_printf(options, ",logical_block_size=%u,"
                               "physical_block_size=%u", block,
                               setup->physical ?: block);
    }
    g_string_append_c(options, ' ');
}

static QVirtQueue *set_up_queue(Disk *d, unsigned index)
{
    QVirtQueue *vq = qvirtqueue_setup(d->dev, &d->machine->alloc, index);

    guest_queue_started(d->ram, vq);
    return vq;
}

static uint32_t start_of_life(Disk *d)
{
    uint32_t sense = test_unit_ready(d);

    while (sense == WAS_RESET) {
        sense = test_unit_ready(d);
    }
    return sense;
}

void start_driver(Disk *d)
{
    QPCIAddress address = { .devfn = QPCI_DEVFN(PCI_SLOT, 0) };
    uint64_t features;

    d->pci = virtio_pci_new(d->machine->pcibus, &address);
    g_assert_nonnull(d->pci);
    g_assert_cmpint(d->pci->vdev.device_type, ==, VIRTIO_ID_SCSI);
    d->dev = &d->pci->vdev;
    qvirtio_pci_device_enable(d->pci);
    qvirtio_start_device(d->dev);
    /* That was a reset, too */
    guest_forget(d->ram, 0, UINT64_MAX);
    features = qvirtio_get_features(d->dev);
    qvirtio_set_features(d->dev, features &
                         ~(QVIRTIO_F_BAD_FEATURE |
                           1ull << VIRTIO_RING_F_INDIRECT_DESC |
                           1ull << VIRTIO_RING_F_EVENT_IDX));
    d->queues = MIN(qvirtio_config_readl(d->dev, 0), MAX_QUEUES);
    d->control = set_up_queue(d, 0);
    d->event = set_up_queue(d, 1);
    for (unsigned i = 0; i < d->queues; i++) {
        d->vq[i] = set_up_queue(d, 2 + i);
    }
    qvirtio_set_driver_ok(d->dev);
    for (unsigned i = 0; i < lun_count(d->setup); i++) {
        d->lun = i;
        assert_ok(start_of_life(d));
    }
    d->lun = d->queue = 0;
}

void drop_device(Disk *d)
{
    QGuestAllocator *alloc = &d->machine->alloc;

    qvirtqueue_cleanup(d->dev->bus, d->control, alloc);
    qvirtqueue_cleanup(d->dev->bus, d->event, alloc);
    for (unsigned i = 0; i < d->queues; i++) {
        qvirtqueue_cleanup(d->dev->bus, d->vq[i], alloc);
    }
    qvirtio_pci_device_disable(d->pci);
    g_free(d->pci->pdev);
    g_free(d->pci);
    d->pci = NULL;
}

void power_on(Disk *d, const char *more)
{
    const Setup *setup = d->setup;
    GString *luns = g_string_new("");

    for (unsigned i = 0; i < lun_count(setup); i++) {
        add_lun(d, luns, i);
    }
    if (d->kind == OF_THE_HOST) {
        host_zoned_begin(d->image[0], &(HostZoned) {
            .model = setup->host_aware ? "host-aware" : "host-managed",
            .size = DISK, .zone_size = ZONE,
            .conventional = NR_CONV, .max_open = MAX_OPEN,
            .states = setup->worn ? "14:13,15:15" : NULL,
        });
    }
    d->ram = guest_new();
    d->machine = qtest_pc_boot("-machine pc -nodefaults %s %s %s -device "
                               "virtio-scsi-pci,id=scsi,addr=%x.0%s %s",
                               guest_options(d->ram), more,
                               setup->objects ?: "", PCI_SLOT,
                               setup->adapter ?: "", luns->str);
    host_zoned_end();
    g_string_free(luns, TRUE);
    d->qts = d->machine->qts;
    guest_started(d->ram);
    d->block = setup->block ?: SECTOR;
}

void quit(Disk *d)
{
    qtest_shutdown(d->machine);
    guest_delete(d->ram);
}

void power_off(Disk *d)
{
    drop_device(d);
    guest_check(d->ram);
    quit(d);
}

Disk *new_disk(const Setup *setup)
{
    Disk *d = g_new0(Disk, 1);

    d->setup = setup;
    d->kind = disk_kind;
    for (unsigned i = 0; i < lun_count(setup); i++) {
        d->image[i] = create_image(setup);
    }
    power_on(d, "");
    start_driver(d);
    return d;
}

Disk *disk_after_crash(Disk *d)
{
    Disk *copy = g_new0(Disk, 1);

    copy->setup = d->setup;
    copy->image[0] = zoned_image_copy(d->image[0]);
    power_on(copy, "");
    start_driver(copy);
    return copy;
}

void delete_disk(Disk *d)
{
    power_off(d);
    for (unsigned i = 0; i < lun_count(d->setup); i++) {
        zoned_image_delete(d->image[i]);
    }
    g_free(d);
}

static Disk *shared_disk;

void delete_shared_disk(void)
{
    if (shared_disk) {
        delete_disk(shared_disk);
        shared_disk = NULL;
    }
}

Disk *get_disk(const Setup *setup)
{
    if (shared_disk && (shared_disk->setup != setup ||
                        shared_disk->kind != disk_kind)) {
        delete_shared_disk();
    }
    if (!shared_disk) {
        shared_disk = new_disk(setup);
    }
    assert_ok(on_all(shared_disk, RESET_ZONE));
    assert_zones(shared_disk, setup->worn ? "14:rdonly 15:offline" : "");
    return shared_disk;
}

/* --- Commands --- */

static uint64_t place(Disk *d, const void *data, uint8_t fill, size_t size,
                      unsigned misaligned)
{
    uint64_t address = guest_alloc(&d->machine->alloc, misaligned + size) +
                       misaligned;

    if (data && size) {
        guest_write(d->ram, address, data, size);
    } else if (size) {
        guest_fill(d->ram, address, fill, size);
    }
    return address;
}

/* Describe a buffer, in pieces. */
static void describe(Disk *d, QVirtQueue *vq, uint64_t address, size_t size,
                     unsigned segment, bool writable, bool more)
{
    while (size) {
        size_t n = segment ? MIN(size, segment) : size;

        qvirtqueue_add(d->qts, vq, address, n, writable, more || n < size);
        address += n;
        size -= n;
    }
}

/* Describe a data buffer, of which a part can be elsewhere. */
static void describe_data(Disk *d, QVirtQueue *vq, const Command *c,
                          uint64_t address, size_t size, bool writable)
{
    size_t at = c->elsewhere ? c->elsewhere_at : size;

    describe(d, vq, address, MIN(at, size), c->segment, writable,
             at < size || !writable);
    for (unsigned i = 0; at < size && i < c->elsewhere; i++) {
        at += SECTOR;
        describe(d, vq, c->place, SECTOR, 0, writable, at < size || !writable);
    }
    if (c->elsewhere && at < size) {
        describe(d, vq, address + at, size - at, c->segment, writable,
                 !writable);
    }
}

static void prepare(Disk *d, Command *c)
{
    QVirtQueue *vq = d->vq[d->queue];
    struct virtio_scsi_cmd_req request = {
        .lun = { 1, 0, 0x40 | d->lun >> 8, d->lun },
        .tag = cpu_to_le64((uintptr_t)c),
    };

    memcpy(request.cdb, c->cdb, sizeof(c->cdb));
    c->queue = d->queue;
    c->sense = UNFINISHED;
    c->request = place(d, &request, 0, sizeof(request), 0);
    c->data_out = place(d, c->out, c->fill, c->out_len, c->misaligned);
    c->response = place(d, NULL, UNWRITTEN_BYTE,
                        sizeof(struct virtio_scsi_cmd_resp), 0);
    c->data_in = place(d, NULL, UNWRITTEN_BYTE, c->in_len, c->misaligned);
    c->head = vq->free_head;
    describe(d, vq, c->request, sizeof(request), 0, false, true);
    describe_data(d, vq, c, c->data_out, c->out_len, false);
    describe(d, vq, c->response, sizeof(struct virtio_scsi_cmd_resp), 0, true,
             c->in_len);
    describe_data(d, vq, c, c->data_in, c->in_len, true);
    g_assert_cmpint(vq->free_head, <=, vq->size);
}

static void kick(Disk *d, const Command *c, unsigned n)
{
    QVirtQueue *vq = d->vq[d->queue];
    uint16_t index = qtest_readw(d->qts, vq->avail + 2);

    for (unsigned i = 0; i < n; i++) {
        qtest_writew(d->qts, vq->avail + 4 + 2 * ((index + i) % vq->size),
                     c[i].head);
    }
    qtest_writew(d->qts, vq->avail + 2, index + n);
    guest_queue_offered(d->ram, vq, n);
    d->dev->bus->virtqueue_kick(d->dev, vq);
}

/* No command is in progress there. */
static void forget_descriptors(QVirtQueue *vq)
{
    vq->free_head = 0;
    vq->num_free = vq->size;
}

/* All at once, with one kick; no other command may be in progress there. */
void start_commands(Disk *d, Command *c, unsigned n)
{
    forget_descriptors(d->vq[d->queue]);
    for (unsigned i = 0; i < n; i++) {
        prepare(d, &c[i]);
    }
    kick(d, c, n);
}

void start_command(Disk *d, Command *c)
{
    start_commands(d, c, 1);
}

static uint32_t get_sense(const struct virtio_scsi_cmd_resp *r)
{
    if (r->response != VIRTIO_SCSI_S_OK) {
        return 0x1000000 | r->response;
    }
    if (r->status == GOOD) {
        g_assert_cmpint(r->sense_len, ==, 0);
        return OK;
    }
    /* Fixed format, current error, without INFORMATION */
    g_assert_cmphex(r->status, ==, CHECK_CONDITION);
    g_assert_cmpint(le32_to_cpu(r->sense_len), ==, 18);
    g_assert_cmphex(r->sense[0], ==, 0x70);
    g_assert_cmpint(r->sense[7], ==, 10);
    return SENSE(r->sense[2], r->sense[12], r->sense[13]);
}

static void collect_data(Disk *d, Command *c)
{
    g_autofree uint8_t *data = g_malloc(c->in_len);

    guest_read(d->ram, c->data_in, data, c->in_len);
    c->touched = c->in_len;
    while (c->touched && data[c->touched - 1] == UNWRITTEN_BYTE) {
        c->touched--;
    }
    if (c->in) {
        memcpy(c->in, data, c->in_len);
    }
}

/* How much of the buffer the device may have written; @resid is for success */
static size_t data_length(const Command *c)
{
    switch (c->sense >> 16) {
    case 0:
        return c->in_len ? c->in_len - c->resid : 0;
    case ILLEGAL_REQUEST:
    case UNIT_ATTENTION:
        return 0;
    default:
        /* What comes before a zone that is offline can be read */
        return c->in_len;
    }
}

static void collect(Disk *d, Command *c)
{
    QGuestAllocator *alloc = &d->machine->alloc;
    struct virtio_scsi_cmd_resp r;

    guest_read(d->ram, c->response, &r, sizeof(r));
    c->sense = get_sense(&r);
    c->resid = le32_to_cpu(r.resid);
    guest_queue_done(d->ram, d->vq[c->queue], c->head,
                     sizeof(r) + data_length(c));
    guest_check(d->ram);
    if (c->in_len) {
        collect_data(d, c);
    }
    guest_free(alloc, c->data_out - c->misaligned);
    guest_free(alloc, c->data_in - c->misaligned);
    guest_free(alloc, c->request);
    guest_free(alloc, c->response);
}

/* Take an answer from the used ring, if there is one. */
static bool take_answer(Disk *d, QVirtQueue *vq, uint32_t *head)
{
    if (qtest_readw(d->qts, vq->used + 2) == vq->last_used_idx) {
        return false;
    }
    *head = qtest_readl(d->qts, vq->used + 4 +
                        8 * (vq->last_used_idx % vq->size));
    guest_queue_taken(d->ram, vq);
    vq->last_used_idx++;
    return true;
}

static uint32_t wait_for_answer(Disk *d, QVirtQueue *vq)
{
    gint64 deadline = g_get_monotonic_time() + TIMEOUT_US;
    uint32_t head;

    while (!take_answer(d, vq, &head)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(50);
    }
    return head;
}

bool is_done(Disk *d, Command *c)
{
    QVirtQueue *vq = d->vq[c->queue];

    return qtest_readw(d->qts, vq->used + 2) != vq->last_used_idx;
}

/* Answers of one queue are to be taken in the order of its commands. */
uint32_t finish_command(Disk *d, Command *c)
{
    g_assert_cmpint(wait_for_answer(d, d->vq[c->queue]), ==, c->head);
    collect(d, c);
    return c->sense;
}

void finish_commands(Disk *d, Command *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint32_t head = wait_for_answer(d, d->vq[c->queue]);
        unsigned k = 0;

        while (c[k].head != head) {
            g_assert_cmpint(++k, <, n);
        }
        collect(d, &c[k]);
    }
}

uint32_t submit(Disk *d, Command *c)
{
    start_command(d, c);
    return finish_command(d, c);
}

uint8_t task_management(Disk *d, uint32_t subtype)
{
    struct virtio_scsi_ctrl_tmf_req request = {
        .type = cpu_to_le32(VIRTIO_SCSI_T_TMF),
        .subtype = cpu_to_le32(subtype),
        .lun = { 1, 0, 0x40 | d->lun >> 8, d->lun },
    };
    uint64_t address, answer;
    uint32_t head;
    uint8_t response;

    forget_descriptors(d->control);
    address = place(d, &request, 0, sizeof(request), 0);
    answer = place(d, NULL, UNWRITTEN_BYTE, 1, 0);
    head = qvirtqueue_add(d->qts, d->control, address, sizeof(request), false,
                          true);
    qvirtqueue_add(d->qts, d->control, answer, 1, true, false);
    qvirtqueue_kick(d->qts, d->dev, d->control, head);
    guest_queue_offered(d->ram, d->control, 1);
    wait_for_answer(d, d->control);
    guest_queue_done(d->ram, d->control, head, 1);
    guest_check(d->ram);
    response = qtest_readb(d->qts, answer);
    guest_free(&d->machine->alloc, address);
    guest_free(&d->machine->alloc, answer);
    return response;
}

/* --- CDBs --- */

Command cdb6(Disk *d, uint8_t opcode, uint64_t offset, uint64_t bytes)
{
    uint64_t lba = offset / d->block;

    return (Command) {
        .cdb = { opcode, lba >> 16 & 0x1f, lba >> 8, lba, bytes / d->block },
    };
}

Command cdb10(Disk *d, uint8_t opcode, uint8_t flags, uint64_t offset,
              uint64_t bytes)
{
    Command c = { .cdb = { opcode, flags } };

    stl_be_p(c.cdb + 2, offset / d->block);
    stw_be_p(c.cdb + 7, bytes / d->block);
    return c;
}

Command cdb12(Disk *d, uint8_t opcode, uint8_t flags, uint64_t offset,
              uint64_t bytes)
{
    Command c = { .cdb = { opcode, flags } };

    stl_be_p(c.cdb + 2, offset / d->block);
    stl_be_p(c.cdb + 6, bytes / d->block);
    return c;
}

Command raw16(uint8_t opcode, uint8_t flags, uint64_t lba, uint32_t length,
              uint8_t byte14)
{
    Command c = { .cdb = { opcode, flags } };

    stq_be_p(c.cdb + 2, lba);
    stl_be_p(c.cdb + 10, length);
    c.cdb[14] = byte14;
    return c;
}

Command cdb16(Disk *d, uint8_t opcode, uint8_t flags, uint64_t offset,
              uint64_t bytes)
{
    return raw16(opcode, flags, offset / d->block, bytes / d->block, 0);
}

Command write_command(Disk *d, uint64_t offset, uint64_t bytes, uint8_t fill)
{
    Command c = cdb16(d, WRITE_16, 0, offset, bytes);

    c.out_len = bytes;
    c.fill = fill;
    return c;
}

Command read_command(Disk *d, uint64_t offset, uint64_t bytes, void *data)
{
    Command c = cdb16(d, READ_16, 0, offset, bytes);

    c.in_len = bytes;
    c.in = data;
    return c;
}

uint32_t write_at(Disk *d, uint64_t offset, uint64_t bytes, uint8_t fill)
{
    Command c = write_command(d, offset, bytes, fill);

    return submit(d, &c);
}

uint32_t read_at(Disk *d, uint64_t offset, uint64_t bytes, void *data)
{
    Command c = read_command(d, offset, bytes, data);

    submit(d, &c);
    if (c.sense == OK) {
        g_assert_cmpint(c.resid, ==, 0);
    } else {
        g_assert_cmpint(c.touched, ==, 0);
    }
    return c.sense;
}

uint32_t verify_at(Disk *d, uint64_t offset, uint64_t bytes)
{
    Command c = cdb16(d, VERIFY_16, 0, offset, bytes);

    return submit(d, &c);
}

uint32_t flush(Disk *d)
{
    Command c = raw16(SYNCHRONIZE_CACHE_16, 0, 0, 0, 0);

    return submit(d, &c);
}

uint32_t test_unit_ready(Disk *d)
{
    Command c = { .cdb = { TEST_UNIT_READY } };

    return submit(d, &c);
}

uint32_t zbc_out(Disk *d, unsigned action, uint64_t lba, unsigned count,
                 uint8_t flags)
{
    Command c = raw16(0x94, action, lba, count, flags);

    return submit(d, &c);
}

static uint64_t zone_id(Disk *d, unsigned zone)
{
    return (uint64_t)zone * ZONE / d->block;
}

uint32_t zone_close(Disk *d, unsigned zone)
{
    return zbc_out(d, CLOSE_ZONE, zone_id(d, zone), 0, 0);
}

uint32_t zone_finish(Disk *d, unsigned zone)
{
    return zbc_out(d, FINISH_ZONE, zone_id(d, zone), 0, 0);
}

uint32_t zone_open(Disk *d, unsigned zone)
{
    return zbc_out(d, OPEN_ZONE, zone_id(d, zone), 0, 0);
}

uint32_t zone_reset(Disk *d, unsigned zone)
{
    return zbc_out(d, RESET_ZONE, zone_id(d, zone), 0, 0);
}

uint32_t on_all(Disk *d, unsigned action)
{
    return zbc_out(d, action, 0, 0, 1);
}

/* --- What the zones are like --- */

Command report_command(uint64_t lba, uint8_t options, uint32_t length,
                       void *data)
{
    Command c = raw16(0x95, 0, lba, length, options);

    c.in_len = length;
    c.in = data;
    return c;
}

unsigned reported(const uint8_t *list)
{
    uint32_t length = get_be32(list);

    g_assert_cmpint(length % 64, ==, 0);
    return length / 64;
}

uint64_t reported_start(const uint8_t *list, unsigned i)
{
    return ldq_be_p(list + 64 + 64 * i + 16);
}

uint64_t get_size(Disk *d)
{
    uint8_t data[32];
    Command c = raw16(0x9e, 0x10, 0, sizeof(data), 0);

    c.in_len = sizeof(data);
    c.in = data;
    assert_ok(submit(d, &c));
    g_assert_cmpint(get_be32(data + 8), ==, d->block);
    return (ldq_be_p(data) + 1) * d->block;
}

static char *describe_zone(Disk *d, const uint8_t *z)
{
    static const char *const names[] = {
        [1] = "empty", [2] = "iopen", [3] = "eopen", [4] = "closed",
        [0xd] = "rdonly", [0xe] = "full", [0xf] = "offline",
    };
    unsigned condition = z[1] >> 4;
    uint64_t start = ldq_be_p(z + 16), wp = ldq_be_p(z + 24);
    uint64_t distance = (wp - start) * d->block;

    g_assert_cmpint(condition, <, ARRAY_SIZE(names));
    g_assert_nonnull(names[condition]);
    if (condition > 4) {
        if (d->kind != PASSED_THROUGH) {
            g_assert_cmphex(wp, ==, UINT64_MAX);
        }
        return g_strdup(names[condition]);
    }
    if (condition == 1) {
        g_assert_cmpint(distance, ==, 0);
        return g_strdup("empty");
    }
    return distance % KiB ? g_strdup_printf("%s@%" PRIu64, names[condition],
                                            distance)
                          : g_strdup_printf("%s@%" PRIu64 "K",
                                            names[condition], distance / KiB);
}

/* A list of all zones that has room for them all, checked but conditions */
static void assert_list(Disk *d, const uint8_t *list, unsigned zones,
                        uint64_t size)
{
    g_assert_cmpint(reported(list), ==, zones);
    g_assert_cmpint(list[4] & 0xf, ==, 0);
    g_assert_cmpint(ldq_be_p(list + 8), ==, size / d->block - 1);
    g_assert_true(buffer_is_zero(list + 16, 48));
    for (unsigned i = 0; i < zones; i++) {
        const uint8_t *z = list + 64 + 64 * i;

        g_assert_cmphex(z[0], ==, i < NR_CONV ? 1 : 2);
        g_assert_cmphex(z[1] & 0xf, ==, 0);
        g_assert_true(buffer_is_zero(z + 2, 6));
        g_assert_cmpint(ldq_be_p(z + 8) * d->block, ==,
                        MIN(ZONE, size - i * ZONE));
        g_assert_cmpint(ldq_be_p(z + 16) * d->block, ==, i * ZONE);
        g_assert_true(buffer_is_zero(z + 32, 32));
        if (i < NR_CONV) {
            g_assert_cmphex(z[1], ==, 0);
            g_assert_cmphex(ldq_be_p(z + 24), ==, UINT64_MAX);
        }
    }
}

char *describe_zones(Disk *d)
{
    uint64_t size = get_size(d);
    unsigned zones = DIV_ROUND_UP(size, ZONE);
    g_autofree uint8_t *list = g_malloc(64 + 64 * zones);
    Command c = report_command(0, 0, 64 + 64 * zones, list);
    GString *text = g_string_new("");

    assert_ok(submit(d, &c));
    g_assert_cmpint(c.resid, ==, 0);
    assert_list(d, list, zones, size);
    for (unsigned i = NR_CONV; i < zones; i++) {
        g_autofree char *zone = describe_zone(d, list + 64 + 64 * i);

        if (!g_str_equal(zone, "empty")) {
            g_string_append_printf(text, "%s%u:%s", text->len ? " " : "", i,
                                   zone);
        }
    }
    return g_string_free(text, FALSE);
}

bool all_bytes_are(Disk *d, uint64_t offset, uint64_t bytes, uint8_t value)
{
    g_autofree uint8_t *data = g_malloc(bytes);

    assert_ok(read_at(d, offset, bytes, data));
    return data[0] == value && !memcmp(data, data + 1, bytes - 1);
}

/* --- The machine --- */

void assert_vm_runs(Disk *d)
{
    g_assert_true(machine_has_status(d->qts, "running"));
}

void wait_for_stop(Disk *d)
{
    machine_wait_for_status(d->qts, "io-error");
}

QDict *statistics(Disk *d)
{
    return machine_statistics(d->qts);
}

int64_t statistic(Disk *d, const char *name)
{
    QDict *stats = statistics(d);
    int64_t value = qdict_get_int(stats, name);

    qobject_unref(stats);
    return value;
}

/* --- Registration --- */

typedef struct Test {
    void (*function)(void);
    void (*function_with)(const void *data);
    const void *data;
    Kind kind;
} Test;

static void run_test(const void *opaque)
{
    const Test *test = opaque;

    disk_kind = test->kind;
    if (test->function) {
        test->function();
    } else {
        test->function_with(test->data);
    }
}

static bool has_host_zoned;

void find_host_zones(const char *program)
{
    has_host_zoned = host_zoned_find(program);
}

static bool has_kind(Kind kind)
{
    return getenv("ZBC_DISK") ? kind == PASSED_THROUGH
           : kind == OF_AN_IMAGE || (kind == OF_THE_HOST && has_host_zoned);
}

static void add_test_of_kind(Kind kind, const char *name, Test test)
{
    static const char *const prefixes[] = {
        "", "host-device/", "passed-through/",
    };
    g_autofree char *path = g_strdup_printf("scsi-zbc/%s%s", prefixes[kind],
                                            name);

    test.kind = kind;
    qtest_add_data_func_full(path, g_memdup2(&test, sizeof(test)), run_test,
                             g_free);
}

static void add_test(unsigned kinds, const char *name, Test test)
{
    for (Kind kind = OF_AN_IMAGE; kind <= PASSED_THROUGH; kind++) {
        if ((kinds & 1 << kind) && has_kind(kind)) {
            add_test_of_kind(kind, name, test);
        }
    }
}

void add_of(unsigned kinds, const char *name, void (*function)(void))
{
    add_test(kinds, name, (Test) { .function = function });
}

void add_of_with(unsigned kinds, const char *name, const void *data,
                 void (*function)(const void *))
{
    add_test(kinds, name, (Test) { .function_with = function, .data = data });
}

void add(const char *name, void (*function)(void))
{
    add_of(1 << OF_AN_IMAGE, name, function);
}

void add_with(const char *name, const void *data,
              void (*function)(const void *))
{
    add_of_with(1 << OF_AN_IMAGE, name, data, function);
}
