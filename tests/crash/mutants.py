# Ways to break what the block layer promises; each must be noticed.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from typing import NamedTuple


class Mutant(NamedTuple):
    name: str
    old: str            # occurs once in the files of program.MUTATED
    new: str
    workload: str
    variant: str = '4k'
    reads: bool = False     # it is who opens an image that is broken
    also: tuple = ()        # more pairs of old and new: each alone would do no harm


# What is flushed before the header gets another backing file
BACKING_FLUSH = ('    ret = bdrv_co_flush(bs);\n    if (ret < 0) {\n'
                 '        return ret;\n    }\n\n')
BACKING_CHANGE = '    ret = drv->bdrv_co_change_backing_file('
# What is flushed before the header gets a table of zones of another disk
RECEIVED_FLUSH = (
    '    if (ret == 0) {\n        ret = qcow2_zones_write_caches(bs);\n'
    '    }\n    if (ret == 0) {\n        ret = qcow2_zones_flush_files(bs);\n    }\n')

MUTANTS = [
    Mutant('no-flush-below',
           ': flush_below_records(bs);', ': 0;', 'append'),
    Mutant('no-data-file-flush',
           'ret = bdrv_flush(s->data_file->bs);', 'ret = 0;', 'append', 'data-file'),
    Mutant('no-caches-below',
           'int ret = qcow2_zones_write_caches(bs);', 'int ret = 0;', 'mixed'),
    Mutant('records-after-flush',
           'ret = store_snapshot(bs, snap, idle);\n',
           'ret = store_snapshot(bs, snap, idle);\n'
           '        zone_table_drop_snapshot(table, snap, false);\n'
           '        snap = zone_table_take_snapshot(table, live);\n'
           '        ret = ret ? ret : write_snapshot(bs, snap);\n', 'append'),
    Mutant('no-store-in-flush',
           'if (z->last_stored <= begun) {', 'if (false) {', 'append'),
    Mutant('store-that-had-begun',
           'ret = write_locked(bs, by_flush);\n',
           'qatomic_set_u64(&z->stores_begun, number - 1);\n'
           '        ret = write_locked(bs, by_flush);\n'
           '        qatomic_set_u64(&z->stores_begun, number);\n', 'reset'),
    Mutant('forget-failed-store',
           'zone_table_drop_snapshot(table, snap, ret == 0);',
           'zone_table_drop_snapshot(table, snap, true);', 'flusherrors', 'mapped'),
    Mutant('reset-not-stored',
           'if (ret == 0 && m.commit) {',
           'if (ret == 0 && m.commit && op != BLK_ZO_RESET) {', 'reset'),
    Mutant('reset-not-flushed',
           'int ret = write_zones(bs, false, &write);\n\n'
           '    if (ret == 0) {\n        ret = qcow2_zones_flush_files(bs);\n    }',
           'int ret = write_zones(bs, false, &write);\n', 'reset'),
    Mutant('file-not-extended',
           'ret = grow_file(bs->file, host + bytes);', 'ret = 0;', 'mixed'),
    Mutant('lazy-growth-not-flushed',
           '    } else if (s->zoned) {\n'
           '        qcow2_cache_depends_on_flush(s->l2_table_cache);\n    }\n',
           '    }\n', 'finish', 'lazy'),
    Mutant('reserved-pointer',
           '        .wp = z->wp,\n        .data_end = z->data_end,\n    };\n'
           '    if (state == BLK_ZS_EMPTY) {\n        r->wp',
           '        .wp = QTAILQ_EMPTY(&z->writes) ? z->wp\n'
           '              : QTAILQ_LAST(&z->writes)->end,\n'
           '    };\n    r->data_end = MAX(r->wp, z->data_end);\n'
           '    if (state == BLK_ZS_EMPTY) {\n        r->wp', 'append'),
    Mutant('acknowledged-out-of-order',
           '        w->state = ZW_WRITTEN;\n        acknowledge(t, w->zone);',
           '        z->wp = z->data_end = MAX(z->wp, w->end);\n'
           '        mark_dirty(t, w->zone);\n'
           '        QTAILQ_REMOVE(&z->writes, w, next);\n'
           '        w->state = ZW_ACKNOWLEDGED;', 'append'),
    Mutant('full-zone-not-dirty',
           '        mark_dirty(t, w->zone);\n        return;',
           '        return;', 'append'),
    Mutant('commit-only-changes',
           '        mark_pending_dirty(t, m);\n',
           '        mark_pending_dirty(t, m);\n        m->commit = false;\n'
           '        for (uint32_t i = m->first; i <= m->last; i++) {\n'
           '            m->commit |= zone_at(t, i)->pending != PENDING_NONE;\n'
           '        }\n', 'refinish'),
    Mutant('reset-too-early-for-mapping',
           'zone_table_position(s->zoned->table, zone, &wp, &c.data_end);',
           'wp = c.data_end = start;', 'snapshots'),
    Mutant('step-begins-with-the-zone',
           'offset - qcow2_zoned_map_step_start(bs, offset);',
           'offset & (s->zoned->geometry->zones.size - 1);', 'steps', '512'),
    Mutant('l2-tables-not-durable',
           '        /* With their refcounts; it flushes the file, too */\n'
           '        ret = qcow2_cache_flush(', '        ret = qcow2_cache_write(',
           'steps', '512'),
    Mutant('hole-in-what-is-written',
           'if (likely(!(get_word(sp, w->zone) & HOLE_BUSY))) {', 'if (true) {',
           'holes'),
    Mutant('released-not-first',
           'int ret = write_released(bs, snap);', 'int ret = 0;', 'fill'),
    Mutant('extension-not-written-yet',
           'ret = qcow2_zones_write_ext(bs, m->first, ext);',
           'zone_table_ext_written(qcow2_zone_table(bs), m);'
           'ret = qcow2_zones_write_ext(bs, m->first, ext);', 'zns'),
    Mutant('extension-over-another',
           'int ret = qcow2_zones_store(bs);', 'int ret = 0;', 'exterrors', 'mapped'),
    Mutant('area-not-recorded',
           '        mark_dirty(t, w->zone);\n        return;',
           '        if (zone_at(t, w->zone)->wp == zone_at(t, w->zone)->data_end) {\n'
           '            mark_dirty(t, w->zone);\n        }\n        return;', 'zns'),
    Mutant('area-with-gaps',
           'if (offset > w->start) {', 'if (false) {', 'zns', 'default'),
    Mutant('area-becomes-empty',
           'wp > start || data_end > start || (attributes & BDRV_ZA_EXT) ?',
           'wp > start || (attributes & BDRV_ZA_EXT) ?', 'zns'),
    Mutant('commit-not-stored',
           'if (ret == 0 && m.commit) {',
           'if (ret == 0 && m.commit && op != BLK_ZO_ZRWA_COMMIT) {', 'zns'),
    Mutant('offline-not-stored',
           'if (ret == 0 && m.commit) {',
           'if (ret == 0 && m.commit && op != BLK_ZO_FORCE_OFFLINE) {', 'zns'),
    Mutant('goto-with-old-zones',
           'zone_table_copy(s->zoned->table, s->zoned->going_to->table);', '', 'goto'),
    Mutant('goto-without-extensions',
           'ret = qcow2_zone_file_copy_exts(bs, to, bs, from, table);',
           'ret = 0;', 'goto'),
    Mutant('goto-in-two-steps',
           '    s->l1_table_offset = l1_offset;\n',
           '    s->l1_table_offset = l1_offset;\n'
           '    qcow2_update_header(bs);\n    bdrv_flush(bs->file->bs);\n', 'goto'),
    Mutant('goto-not-flushed-below',
           '    if (ret == 0) {\n        ret = qcow2_write_caches(bs);\n    }\n'
           '    if (ret == 0) {\n        ret = bdrv_flush(bs->file->bs);\n    }\n'
           '    if (ret < 0) {\n        qcow2_free_clusters(bs, offset, bytes,',
           '    if (ret < 0) {\n        qcow2_free_clusters(bs, offset, bytes,',
           'goto'),
    Mutant('overlay-hides-data',
           'm.cow_start.nb_bytes = c->data_end > pos ? MIN(c->data_end - pos, bytes)\n'
           '                                                 : 0;',
           'm.cow_start.nb_bytes = 0;', 'overlay'),
    # Claims
    Mutant('claim-not-checked',
           '*held = *held && ret == 0 && zone_checksum_value(&sum) ==\n'
           '                                 zone_checksum_value(&claim->sum);',
           '*held = *held && ret == 0;', 'durable', reads=True),
    Mutant('claim-of-another-epoch',
           'r.epoch == claim->epoch &&', '', 'reset', 'default', True),
    Mutant('claims-torn',
           'd->reserved || be64_to_cpu(d->checksum) != block_checksum(d)) {',
           'd->reserved) {', 'spread', reads=True),
    Mutant('claims-before-not-read',
           'if (ret == 0 && !held && earlier) {', 'if (false) {',
           'durable', reads=True),
    Mutant('claims-too-early', 'if (is_settled(bs)) {', 'if (true) {', 'durable'),
    # Odd sectors of a write are not in the checksum
    Mutant('checksum-of-too-little',
           '    sum->crc = crc32(sum->crc, buf, bytes);\n'
           '    sum->adler = adler32(sum->adler, buf, bytes);\n',
           '    static const uint8_t zeroes[512];\n'
           '    for (size_t i = 0; i < bytes; i += 512) {\n'
           '        const uint8_t *p = (const uint8_t *)buf + i;\n'
           '        p = p[8] & 1 ? zeroes : p;\n'
           '        sum->crc = crc32(sum->crc, p, 512);\n'
           '        sum->adler = adler32(sum->adler, p, 512);\n'
           '    }\n', 'durable', reads=True),
    Mutant('epoch-stays',
           '    } while (taken & 1 << zone_at(t, index)->epoch);\n'
           '    mark_dirty(t, index);\n',
           '    } while (zone_at(t, index)->epoch);\n    mark_dirty(t, index);\n',
           'reset', 'default'),
    Mutant('epoch-not-stored',
           'zone_at(t, index)->epoch);\n    mark_dirty(t, index);',
           'zone_at(t, index)->epoch);', 'durable'),
    Mutant('claim-beside-an-operation',
           'if (z->pending != PENDING_NONE || zone_has_zrwa(z)) {',
           'if (zone_has_zrwa(z)) {', 'finishing', '4k'),
    Mutant('other-claims-in-force',
           'if (is_same(c, next, n)) {', 'if (c->ahead || is_same(c, next, n)) {',
           'durable'),
    Mutant('ahead-of-what-is-not-durable',
           'z->stores_begun == ahead->stores_begun && is_settled(bs)',
           'z->stores_begun == ahead->stores_begun', 'durable'),
    Mutant('claims-over-the-newest',
           'c->offset + !c->slot * QCOW2_ZONE_CLAIMS_BLOCK',
           'c->offset', 'durable'),
    # Jobs
    Mutant('backing-file-not-flushed',
           '        /* The caller may delete the old backing file. */\n'
           '        ret = bdrv_co_flush(bs);\n', '', 'streambase'),
    Mutant('stream-before-data', 'error = blk_co_flush(s->blk);', '', 'stream',
           also=((BACKING_FLUSH + BACKING_CHANGE, BACKING_CHANGE),)),
    Mutant('commit-empties-what-is-inherited', '.reset = !ret,', '.reset = true,',
           'commit'),
    Mutant('commit-not-flushed',
           '    zone_table_mark_dirty(qcow2_zone_table(c->base), 0);\n'
           '    return bdrv_co_flush(c->base);\n',
           '    zone_table_mark_dirty(qcow2_zone_table(c->base), 0);\n'
           '    return 0;\n', 'commit'),
    Mutant('commit-zones-before-data',
           'int ret = bdrv_co_flush(c->base);\n\n    if (ret == 0) {\n'
           '        ret = copy_zones(c->base, c->top);',
           'int ret = 0;\n\n    if (false) {', 'commit',
           also=(('        zone_table_mark_dirty(table, 0);\n'
                  '        ret = bdrv_co_flush(c->base);\n',
                  '        ret = copy_zones(c->base, c->top);\n'
                  '        zone_table_mark_dirty(table, 0);\n'
                  '        ret = ret ?: bdrv_co_flush(c->base);\n'),)),
    Mutant('backup-without-copy-before-reset',
           '        if (ret == 0) {\n            ret = zb->copy(zb->filter, start,',
           '        if (false) {\n            ret = zb->copy(zb->filter, start,', 'backup'),
    Mutant('backup-shows-what-it-writes',
           'ret = empty_locked(bs);', 'ret = 0;', 'incremental',
           also=(('(!top && !all_empty(bs)) ||\n        ', ''),)),
    Mutant('received-zones-not-flushed', RECEIVED_FLUSH, '', 'copy'),
    Mutant('backup-zones-before-data', RECEIVED_FLUSH, '', 'backup',
           also=(('ret = bdrv_flush(zb->target);', 'ret = 0;'),)),
    Mutant('mirror-zones-before-data', RECEIVED_FLUSH, '', 'mirror',
           also=(('        ret = blk_co_flush(s->target);\n    }\n'
                  '    if (ret < 0) {\n        if (mirror_error_action(s, read,',
                  '        ret = 0;\n    }\n'
                  '    if (ret < 0) {\n        if (mirror_error_action(s, read,'),)),
    Mutant('mirror-is-not-in-sync',
           'if (cnt > 0 || mirror_flush(s) < 0) {', 'if (mirror_flush(s) < 0) {',
           'mirror'),
    Mutant('received-header-not-flushed',
           '    ret = qcow2_zones_write_header(bs);\n    if (ret < 0) {\n'
           '        /* The new table may be in force',
           '    ret = qcow2_update_header(bs);\n    if (ret < 0) {\n'
           '        /* The new table may be in force', 'copy'),
]
