# Bugs to be put into a copy of the block layer; the fuzzer must find each.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from typing import NamedTuple


class Bug(NamedTuple):
    name: str
    source: str
    old: str            # occurs once
    new: str


PLANTED = [
    # Memory
    Bug('extension-overflow', 'block/qcow2-zoned.c',
        'if (len < EXT_BYTES_MIN || len % 8) {', 'if (len % 8) {'),
    Bug('too-few-records', 'block/qcow2-zoned.c',
        'z->file.nr_zones < zone_geometry_nr_zones(z->geometry)) {', 'false) {'),
    # A refusal that is missing
    Bug('data-beyond-the-zone', 'block/zone-table.c',
        'r->data_end > end || ', ''),
    Bug('any-attribute', 'block/zone-table.c',
        '(r->attributes & ~zone_attributes_in(r->state, known_attributes(t)))) {',
        'false) {'),
    Bug('table-beyond-the-file', 'block/qcow2-zone-store.c',
        'bytes > length - f->offset) {', 'false) {'),
    Bug('data-beyond-the-area', 'block/zone-table.c',
        'r->data_end <= r->wp + t->geometry.zones.zrwa_size', 'true'),
    Bug('attributes-without-power', 'block/qcow2-zone-store.c',
        'r->attributes = 0;  /* went with the power */', ''),
    Bug('extensions-anywhere', 'block/qcow2-zoned.c',
        'if (be64_to_cpu(ext.descriptor_extension_offset) !=\n'
        '        ext_offset_in_header(bs)) {', 'if (false) {'),
    Bug('extension-of-another-zone', 'block/qcow2-zone-store.c',
        'return read_ext(bs, &s->zoned->file, i, ext);',
        'return read_ext(bs, &s->zoned->file, i ^ 1, ext);'),
    # A refusal that does not say why
    Bug('wrong-field', 'block/qcow2-zoned.c',
        'ext->reserved2 ? "reserved" :', 'ext->reserved2 ? "length" :'),
    # Hangs
    Bug('endless-table', 'block/qcow2-zone-store.c',
        'zone_table_load(table, i, &r)) {\n                continue;',
        'zone_table_load(table, i, &r)) {\n'
        '                if (be64_to_cpu(buf[k].type_and_wp) >> 60 == 13) {\n'
        '                    k--, i--;\n                }\n'
        '                continue;'),
    # Claims
    Bug('claims-not-summed', 'block/qcow2-zone-claims.c',
        'd->reserved || be64_to_cpu(d->checksum) != block_checksum(d)) {',
        'd->reserved) {'),
    Bug('claim-of-any-data', 'block/qcow2-zone-claims.c',
        '*held = *held && ret == 0 && zone_checksum_value(&sum) ==\n'
        '                                 zone_checksum_value(&claim->sum);',
        '*held = *held && ret == 0;'),
    Bug('claim-of-any-epoch', 'block/qcow2-zone-claims.c',
        'r.epoch == claim->epoch &&', ''),
    Bug('claims-without-bound', 'block/qcow2-zone-claims.c',
        'if (bytes > ZONE_CLAIMS_MAX_BYTES) {', 'if (false) {'),
    Bug('too-many-claims', 'block/qcow2-zone-claims.c',
        'nr > ZONE_CLAIMS_MAX ||', ''),
    Bug('claims-of-all-blocks', 'block/qcow2-zone-claims.c',
        'if (!before->valid || before->sequence != newest->sequence - 1) {',
        'if (false) {'),
    Bug('claims-outside-of-the-file', 'block/qcow2-zone-claims.c',
        'offset > length - QCOW2_ZONE_CLAIMS_BYTES)', 'false)'),
]
