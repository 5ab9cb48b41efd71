# What docs/interop/qcow2-zoned.rst says of an image: is it good, what is in it?
#
# Written from the document alone.  It judges the zoned parts; an image whose
# other parts were touched can be refused for many more reasons.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from hashlib import md5

from image import (AREA_LEN, BLOCK_HEAD, BLOCK_LEN, BLOCK_MAGIC, CLAIM, CLAIM_LEN,
                   EXT_FULL_LEN, EXT_LEN, EXT_MAGIC, MAX_CLAIMED, MAX_CLAIMS, RECORD_LEN,
                   ZONED_BIT, Claim, checksum)

UNIT = 4096
MAX_ZONES = 4194304
MAX_ZONE = 1 << 40
MAX_APPEND = MAX_AREA = 2 << 30
CONVENTIONAL = 1 << 59
POINTER = (1 << 51) - 1
EPOCHS = 16
NUMBERS = 1 << 64     # of claim blocks
EXT_UNIT, MAX_EXT, MAX_EXTS = 64, 16320, 1 << 30
FINISHED, FINISH, RESET, AREA, EXT = 1, 2, 4, 8, 0x80   # attributes
# States as reports have them
NOT_WP, EMPTY, IOPEN, EOPEN, CLOSED, RDONLY, FULL, OFFLINE = 0, 1, 2, 3, 4, 13, 14, 15
ACTIVE = IOPEN, EOPEN, CLOSED


class Zone:
    def __init__(self, fields, size, index):
        self.area = fields['zrwa_size']
        self.known = (FINISHED | FINISH | RESET | (AREA if self.area else 0) |
                      (EXT if fields['descriptor_extension_size'] else 0))
        self.index, self.start = index, index * fields['zone_size']
        self.length = min(fields['zone_size'], size - self.start)
        self.conventional = index < fields['conventional_zones']
        self.capacity = (self.length if self.conventional else
                         min(self.length, fields['zone_capacity']))
        self.end = self.start + self.capacity

    def load(self, first, second, live):
        """Take the two words of a record; False if they make no sense."""
        self.wp, self.data_end = first & POINTER, second & (1 << 60) - 1
        self.attributes, self.epoch = first >> 51 & 0xff, second >> 60
        if self.conventional or first & CONVENTIONAL:
            self.state = NOT_WP
            return self.conventional and first == CONVENTIONAL and second == 0
        number = first >> 60
        if number in (1, 2, 3) and live:
            self.state = ACTIVE[number - 1]
        elif number in (0, 1, 2, 3):
            self.state = self.derived()
            if number and self.state == EMPTY:
                self.attributes = 0
        elif number in (13, 14, 15):
            self.state = {13: RDONLY, 14: FULL, 15: OFFLINE}[number]
        else:
            return False
        return self.attributes_fit() and self.fits()

    def derived(self):
        if self.wp == self.end:
            return FULL
        return (EMPTY if self.wp == self.data_end == self.start and
                not self.attributes & EXT else CLOSED)

    def attributes_fit(self):
        if self.state in (EMPTY, OFFLINE) and self.attributes & EXT:
            return False
        if self.state not in ACTIVE and self.attributes & (AREA | FINISH):
            return False
        if self.state != FULL and self.attributes & RESET:
            return False
        if self.state == EMPTY and self.attributes & FINISHED:
            return False
        return not self.attributes & ~self.known

    def fits(self):
        if (not self.start <= self.wp <= self.end or
                (self.wp | self.data_end) % 512 or
                not self.start <= self.data_end <= self.end):
            return False
        if self.state in ACTIVE:
            return self.wp < self.end and (
                self.data_end <= self.wp + self.area if self.attributes & AREA
                else self.data_end == self.wp)
        if self.state == EMPTY:
            return self.data_end == self.wp == self.start
        return self.wp == self.end if self.state == FULL else True

    def may_be_claimed(self, claim):
        return (not self.conventional and claim.epoch < EPOCHS and
                (claim.start | claim.end) % 512 == 0 and
                self.start <= claim.start < claim.end <= self.end)

    def holds(self, claim, image):
        """Is the claim true?"""
        if (self.state not in (EMPTY, CLOSED) or self.attributes & AREA or
                claim.epoch != self.epoch or
                not self.wp == self.data_end == claim.start):
            return False
        data = image.data_of(claim.start, claim.end)
        return data is not None and checksum(data) == claim.checksum

    def take(self, claim):
        self.wp = self.data_end = claim.end
        self.state = self.derived()
        if self.state == FULL:
            self.attributes &= ~FINISH

    def salvage(self):
        if self.conventional:
            self.state = NOT_WP
        else:
            self.state, self.wp = FULL, self.end
        self.attributes = 0

    def reported(self):
        """As zone-fuzz prints it"""
        wp = (self.start if self.state == NOT_WP else
              self.start + self.length if self.state == FULL else self.wp)
        return (self.index, self.start, self.length, self.capacity, wp,
                1 if self.conventional else 2, self.state, self.attributes,
                md5(self.ext).hexdigest() if self.attributes & EXT else '-')


class Verdict:
    """
    @wrong: texts of which a refusal must contain one; none if the image must
    be accepted with @zones.  @repairable: all that is wrong are records.
    """
    def __init__(self, wrong, zones=(), repairable=False):
        self.wrong, self.zones, self.repairable = wrong, zones, repairable


def extension(image):
    """(offset, length) of the one extension, or what is wrong"""
    found = [(offset, length) for magic, offset, length in image.extensions()
             if magic == EXT_MAGIC]
    zoned = image.get(72, 8) & ZONED_BIT
    wrong = []
    if len(found) > 1:
        wrong.append('Zone extension: more than one')
    if zoned and not found:
        wrong.append('has no zone extension')
    if found and not zoned:
        wrong.append('has a zone extension but is not zoned')
    for _, length in found:
        if length < EXT_LEN or length % 8:
            wrong.append(f'Zone extension: length ({length})')
    return found, wrong


def reserved(image, offset, length, f):
    names = {'reserved': f['reserved'] or f['reserved2'], 'flags': f['flags'] & ~1,
             'length': any(image.data[offset + EXT_FULL_LEN:offset + length])}
    return [f"field '{name}'" for name, bad in names.items() if bad]


def geometry(image, f):
    size, zone, capacity = image.size, f['zone_size'], f['zone_capacity']
    if (zone & (zone - 1) or not UNIT <= zone <= MAX_ZONE or
            zone % image.cluster_size or zone > size):
        return [f'zone.size ({zone})']
    count = -(-size // zone)
    sequential = count - f['conventional_zones']
    wrong = []
    if count > MAX_ZONES:
        wrong.append(f'zone.size ({zone}) is too small')
    if not 0 < capacity <= zone or capacity % UNIT:
        wrong.append(f'zone.capacity ({capacity})')
    if sequential < 1:
        wrong.append('zone.conventional_zones')
    for name in ('max_open_zones', 'max_active_zones'):
        if f[name] > sequential:
            wrong.append(f'zone.{name} ({f[name]})')
    if 0 < f['max_active_zones'] < f['max_open_zones']:
        wrong.append(f'zone.max_open_zones ({f["max_open_zones"]})')
    append = f['max_append_bytes']
    if not 0 < append <= min(capacity, MAX_APPEND) or append % UNIT:
        wrong.append(f'zone.max_append_bytes ({append})')
    if not count <= f['nr_zones'] <= MAX_ZONES:
        wrong.append(f'number of zones ({f["nr_zones"]})')
    ext = f['descriptor_extension_size']
    if ext % EXT_UNIT or ext > MAX_EXT or ext * count > MAX_EXTS:
        wrong.append(f'zone.descriptor_extension_size ({ext})')
    return wrong + random_write_area(size, zone, capacity, sequential, f)


def random_write_area(size, zone, capacity, sequential, f):
    area, unit, most = (f[name] for name in (
        'zrwa_size', 'zrwa_flush_granularity', 'zrwa_zones'))
    if not area:
        return ['requires zone.zrwa_size'] if unit or most else []
    if not unit or unit % 512 or capacity % unit:
        return [f'zone.zrwa_flush_granularity ({unit})']
    wrong = []
    if area % unit or area > min(capacity, MAX_AREA):
        wrong.append(f'zone.zrwa_size ({area})')
    if size % zone:
        wrong.append('zone.zrwa_size requires an image size')
    if most > sequential:
        wrong.append(f'zone.zrwa_zones ({most})')
    return wrong


def place(image, f):
    offset, ext = f['table_offset'], f['descriptor_extension_size']
    length, cluster = f['nr_zones'] * RECORD_LEN, image.cluster_size
    ext_offset, wrong = 0, []
    if ext:
        length = -(-length // cluster) * cluster
        ext_offset = (offset + length) % (1 << 64)
        length += f['nr_zones'] * ext
    if f['descriptor_extension_offset'] != ext_offset:
        wrong.append('descriptor extension offset '
                     f'({f["descriptor_extension_offset"]:#x})')
    file_length = -(-image.length // 512) * 512     # as the block layer sees it
    if not offset or offset % cluster or offset + length > file_length:
        wrong.append(f'Zone table at offset {offset:#x}')
    area = f['claims_offset']
    in_table = area < offset + length and offset < area + AREA_LEN
    if area % cluster or area and (area + AREA_LEN > file_length or in_table):
        wrong.append(f'Claim area at offset {area:#x}')
    return wrong


def judge(image):
    found, wrong = extension(image)
    if not found:
        return Verdict(wrong)
    offset, length = found[0]
    f = image.fields(offset)
    wrong += [] if f['model'] == 1 else [f'unsupported model {f["model"]}']
    wrong += (reserved(image, offset, length, f) + geometry(image, f) +
              place(image, f))
    if wrong:
        return Verdict(wrong)
    zones, bad = records(image, f, f['flags'] & 1)
    return Verdict(bad[:1], zones, bool(bad))


def records(image, f, live):
    """All zones, bad ones as they are repaired, and what is wrong"""
    zones, bad = [], []
    for i in range(-(-image.size // f['zone_size'])):
        zone, at = Zone(f, image.size, i), f['table_offset'] + i * RECORD_LEN
        zone.ext = image.descriptor_extension(f, i)
        zones.append(zone)
        if not zone.load(image.get(at, 8), image.get(at + 8, 8), live):
            bad.append(f'invalid record of zone {i} at offset {at:#x}')
            zone.salvage()
    for zone, choice in claims(image, f, zones):
        claim = next((c for c in choice if zone.holds(c, image)), None)
        if claim:
            zone.take(claim)
    return zones, bad


def claims(image, f, zones):
    """For each zone that has claims: those that may count, in their order"""
    if not f['claims_offset']:
        return
    blocks = [read_block(image, f['claims_offset'] + slot * BLOCK_LEN, zones)
              for slot in range(2)]
    newest, before = blocks
    if not newest or before and 0 < (before[0] - newest[0]) % NUMBERS < NUMBERS // 2:
        newest, before = before, newest
    if not newest:
        return
    for index, claim in newest[1].items():
        also = (before[1].get(index) if before and
                (newest[0] - before[0]) % NUMBERS == 1 else None)
        yield zones[index], [claim, also] if also else [claim]


def read_block(image, offset, zones):
    """(sequence number, claims by zone), or None if it is not valid"""
    data = image.bytes_at(offset, BLOCK_LEN)
    magic, count, sequence, reserved, stored = BLOCK_HEAD.unpack_from(data)
    found = {}
    if (magic != BLOCK_MAGIC or count > MAX_CLAIMS or reserved or
            checksum(data[:24] + bytes(8) + data[32:]) != stored):
        return None
    for n in range(count):
        claim = Claim(*CLAIM.unpack_from(data, CLAIM_LEN * (n + 1)))
        if (claim.zone >= len(zones) or claim.zone <= max(found, default=-1) or
                not zones[claim.zone].may_be_claimed(claim)):
            return None
        found[claim.zone] = claim
    if sum(claim.end - claim.start for claim in found.values()) > MAX_CLAIMED:
        return None
    return sequence, found


def repaired(image):
    """The zones after a repair; that is no hand-over, so open ones are closed."""
    return records(image, image.fields(), False)[0]
