# Requests that are in flight together take effect in some order, which nobody
# tells.  There has to be one that explains all answers and the report that comes
# after them; if there is none, the disk is wrong.
#
# What is done to one zone is told apart from others by the resources only: how many
# zones are open or active.  So what may have happened in each zone is a graph
# (ZoneHistory), and between zones only the steps are put in order that need
# resources or give them back (Order).  Both are searched to the end.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from typing import NamedTuple

from model import (ACTIVE, CLOSED, CONV, EMPTY, EOPEN, FULL, IOPEN, OFFLINE, OPEN, RDONLY,
                   SECTOR, WRITES, Wrong, describe_sector, describe_zones)

NODES, ORDERS = 1000000, 1000000
#: What searches came to, at most
LARGEST = {'moments of a zone': 0, 'orders of zones': 0}
DONE, VICTIM, NO_OPEN, NO_ACTIVE = 'done', 'victim', 'open', 'active'
LOOKS = ('read', 'flush', 'report')


class Node(NamedTuple):
    """A moment of a zone"""
    state: str
    wp: int
    left: int           # bits of the operations that are not done


class Step(NamedTuple):
    kind: str           # DONE; VICTIM: closed for another; or failed for lack of it
    op: object          # None if it is no operation
    after: Node


def is_reported(state, wp, report):
    """The write pointer of a zone means nothing when nothing can be written."""
    return report == (state, wp) or \
        report[0] == state and state not in (*ACTIVE, EMPTY)


def held(state):
    """The resources of a zone that is not active do not tell states apart."""
    return state if state in ACTIVE else None


def tell_largest(what, number):
    LARGEST[what] = max(LARGEST[what], number)


class Group:
    """Moments of a zone of which nobody can tell in which it is; all have one held()"""
    def __init__(self, nodes):
        self.nodes = nodes
        self.held = held(nodes[0].state)
        self.next = {}      # what comes after, once it was wanted


class Passage(NamedTuple):
    """How each node of a group was come to: (node before, operation)"""
    inside: dict            # from another node of it
    into: dict = {}         # from the group before


class ZoneHistory:
    """What may have happened in a zone"""
    def __init__(self, disk, i, ops, report, error, read):
        self.disk, self.zone, self.ops, self.error = disk, i, ops, error
        self.report = report
        self.start = disk.start(i)
        begin = Node(disk.zones[i].state, disk.zones[i].wp, (1 << len(ops)) - 1)
        # A reset of all leaves it alone when it is offline or read-only
        doubtful = begin.state in (RDONLY, OFFLINE) and \
            any(op.kind == 'reset-all' for op in ops)
        self.resets = self.mask(lambda op: op.kind in ('reset', 'reset-all') and
                                op.status == 'ok')
        self.lasting = None
        if self.resets and not doubtful:
            self.lasting = self.find_lasting(read)
        self.before = self.find_equals()
        self.early = 0              # writes that came before the last reset
        if self.lasting is not None:
            self.early = ~self.lasting & self.mask(
                lambda op: op.status == 'ok' and op.kind in ('write', 'append'))
        self.places = list(self.find_places())
        self.moments = {}
        self.begin = self.node(*begin)
        self.graph = self.explore()
        self.groups = {}
        nodes, origins = self.close([self.begin], ())
        self.first, self.passages = self.group(nodes), [Passage(origins)]
        self.refused = any(step.kind in (NO_OPEN, NO_ACTIVE)
                           for steps in self.graph.values() for step in steps)

    def mask(self, condition):
        return sum(1 << n for n, op in enumerate(self.ops) if condition(op))

    def place(self, op):
        return (op.position if op.kind == 'append' else op.offset) - self.start

    def find_lasting(self, read):
        """
        What the zone has now tells which writes came after the last reset: bits of
        these.  None if it cannot be read.
        """
        if self.report[0] == OFFLINE:
            return None
        found, lasting = bytearray(read(self.zone)), 0
        for n, op in enumerate(self.ops):
            if op.status == 'ok' and op.kind in ('write', 'append'):
                at = self.place(op)
                if found[at:at + op.size] == op.data:
                    lasting |= 1 << n
                    found[at:at + op.size] = bytes(op.size)
        if found != bytes(len(found)):
            at = next(n for n in range(0, len(found), SECTOR)
                      if any(found[n:n + SECTOR]))
            raise Wrong(f'zone {self.zone} at {at:#x}: '
                        f'{describe_sector(found[at:at + SECTOR])} after a reset')
        return lasting

    def find_equals(self):
        """Of operations that differ in nothing that matters, those done before."""
        before, known = {}, {}
        for n, op in enumerate(self.ops):
            lasting = self.lasting is not None and self.lasting >> n & 1
            key = (op.kind, op.offset, op.size, op.position, op.condition, op.status,
                   lasting, op.fua)
            before[1 << n] = known.get(key, 0)
            known[key] = before[1 << n] | 1 << n
        return before

    def find_places(self):
        """
        Where writes begin: (place, bits of these, of what leads there, how many of that
        do not count).  Each write has to be led there, by another one that ends there
        or, to the start, by a reset; early writes by early ones, not by the last reset.
        """
        writes = [(1 << n, self.place(op), op.size) for n, op in enumerate(self.ops)
                  if op.status == 'ok' and op.kind in WRITES]
        # When zeroes were written cannot be seen
        early = self.early | self.resets | self.mask(lambda op: op.kind == 'zeroes')
        for place in sorted({at for _, at, _ in writes}):
            begin = sum(bit for bit, at, _ in writes if at == place)
            lead = self.resets if place == 0 else \
                sum(bit for bit, at, size in writes if at + size == place)
            yield place, begin, lead, 0
            yield place, begin & self.early, lead & early, int(place == 0)

    # --- The graph ---

    def moment(self, state, wp):
        """
        Bits of the operations that can have failed here or only look, and what others
        can have done: (bit, kind, operation, state, write pointer).
        """
        known = self.moments.get((state, wp))
        if known:
            return known
        passive, active = 0, []
        for n, op in enumerate(self.ops):
            errors, states = self.disk.outcome(self.zone, state, wp, op)
            if errors:
                if op.status in {self.error(op, name) for name in errors}:
                    passive |= 1 << n
            elif op.kind in LOOKS:
                passive |= (op.status == 'ok') << n
            elif op.status != 'ok':
                active += [(1 << n, name, op, state, wp) for new in states
                           for name in lacking(held(state), held(new[0]))
                           if op.status == self.error(op, name)]
            elif op.kind != 'append' or op.position == self.start + wp:
                active += [(1 << n, DONE, op, *new) for new in states]
        self.moments[state, wp] = passive, active
        return passive, active

    def node(self, state, wp, left):
        """What fails, or only looks, may as well be as soon as it can."""
        return Node(state, wp, left & ~self.moment(state, wp)[0])

    def steps(self, node):
        state, wp, left = node
        late = not left & self.resets
        for bit, kind, op, new_state, new_wp in self.moment(state, wp)[1]:
            if left & bit and not self.before[bit] & left and \
                    (kind != DONE or self.lasting is None or
                     op.kind not in ('write', 'append') or
                     bool(self.lasting & bit) == late):
                yield Step(kind, op, self.node(new_state, new_wp, left ^ bit))
        if self.disk.is_filling(state, wp):
            yield Step(DONE, None, self.node(FULL, wp, left))
        if state == IOPEN:
            yield Step(VICTIM, None, self.node(CLOSED, wp, left))

    def is_hopeless(self, node):
        """The write pointer cannot come to all places of writes that are not done."""
        left, resets = node.left, node.left & self.resets
        if not resets and left & self.early:
            return True
        for place, begin, lead, spare in self.places:
            begin &= left
            if begin and (not resets and place < node.wp or
                          begin.bit_count() > (lead & left).bit_count() - spare +
                          (place == node.wp)):
                return True
        return False

    def is_end(self, node):
        return not node.left and is_reported(node.state, node.wp, self.report) and \
            not self.disk.is_filling(node.state, node.wp)

    def explore(self):
        """Steps of all moments from which the zone can become what was reported"""
        before, steps, todo, ends = {self.begin: []}, {}, [self.begin], []
        while todo:
            node = todo.pop()
            steps[node] = [s for s in self.steps(node) if not self.is_hopeless(s.after)]
            if self.is_end(node):
                ends.append(node)
            for step in steps[node]:
                if step.after not in before:
                    before[step.after] = []
                    todo.append(step.after)
                before[step.after].append(node)
            if len(before) > NODES:
                raise Wrong(f'zone {self.zone}: too many orders to try')
        tell_largest('moments of a zone', len(before))
        live = set(ends)
        while ends:
            for node in before[ends.pop()]:
                if node not in live:
                    live.add(node)
                    ends.append(node)
        if self.begin not in live:
            raise Wrong(f'zone {self.zone} was {self.begin.state} at {self.begin.wp:#x} '
                        f'and is {self.report[0]} at {self.report[1]:#x}: no order of '
                        'these operations explains it')
        return {node: [s for s in steps[node] if s.after in live] for node in live}

    def may_be(self, states):
        return any(node.state in states for node in self.graph)

    def is_still(self):
        """Nobody else can tell whether something happens in it."""
        return len({held(node.state) for node in self.graph}) == 1 and not self.refused

    # --- What others see of it ---

    def group(self, nodes):
        key = frozenset(nodes)
        if key not in self.groups:
            self.groups[key] = Group(nodes)
        return self.groups[key]

    def close(self, nodes, refusals):
        """
        All that comes of @nodes without a change of resources, and how.  Operations
        may fail for lack of those in @refusals.
        """
        found, inside, todo = dict.fromkeys(nodes), {}, list(nodes)
        while todo:
            node = todo.pop()
            for kind, op, after in self.graph[node]:
                if (kind in refusals or kind == DONE and
                        held(after.state) == held(node.state)) and after not in found:
                    found[after] = None
                    inside[after] = node, op
                    todo.append(after)
        return list(found), inside

    def refuse(self, group, refusals):
        """The group after operations may have failed, and the passage"""
        if refusals not in group.next:
            nodes, inside = self.close(group.nodes, refusals)
            group.next[refusals] = self.group(nodes), Passage(inside)
        return group.next[refusals]

    def changes(self, group):
        """(kind, group, passage): what changes the resources that the zone holds"""
        if 'changes' not in group.next:
            entries = {}
            for node in group.nodes:
                for kind, op, after in self.graph[node]:
                    if kind == VICTIM or kind == DONE and \
                            held(after.state) != group.held:
                        entry = entries.setdefault((kind, held(after.state)), {})
                        entry.setdefault(after, (node, op))
            changes = []
            for (kind, _), entry in entries.items():
                nodes, inside = self.close(entry, ())
                changes.append((kind, self.group(nodes), Passage(inside, entry)))
            # First what gives resources back
            changes.sort(key=lambda change: len(lacking(group.held, change[1].held)))
            group.next['changes'] = changes
        return group.next['changes']

    def end_in(self, group):
        return next((node for node in group.nodes if self.is_end(node)), None)

    def trace(self, group, passages):
        """The way to the end, which is in @group"""
        history, node = [], self.end_in(group)
        for inside, into in reversed([*self.passages, *passages]):
            while node in inside:
                before, op = inside[node]
                history.append((op, node.state, node.wp))
                node = before
            if into:
                before, op = into[node]
                history.append((op, node.state, node.wp))
                node = before
        return self.zone, history[::-1]


def lacking(before, after):
    """Resources that a zone needs and has not, for a change of held()"""
    result = []
    if before is None and after is not None:
        result.append(NO_ACTIVE)
    if before not in OPEN and after in OPEN:
        result.append(NO_OPEN)
    return result


class Order:
    """A search for an order of what several zones do with resources"""
    def __init__(self, rules, histories, others):
        self.rules, self.histories = rules, histories
        self.others = others        # held() of zones that are still

    def count(self, groups, states):
        return sum(group.held in states for group in groups) + \
            sum(state in states for state in self.others)

    def lacks(self, groups, states, limit):
        return limit and self.count(groups, states) >= limit

    def refuse(self, groups, passages):
        """Operations fail that find no resources now."""
        groups = list(groups)
        no_active = self.lacks(groups, ACTIVE, self.rules.max_active)
        no_open = self.lacks(groups, (EOPEN,), self.rules.max_open)
        for z, history in enumerate(self.histories):
            before = groups[z].held
            if history.refused and before not in OPEN:
                refusal = (NO_ACTIVE if no_active and before is None else
                           NO_OPEN if no_open else None)
                if refusal:
                    groups[z], passage = history.refuse(groups[z], (refusal,))
                    passages.append((z, passage))
        return tuple(groups), passages

    def moves(self, groups):
        """What can be next: groups, and passages of zones"""
        no_active = self.lacks(groups, ACTIVE, self.rules.max_active)
        no_open = self.lacks(groups, OPEN, self.rules.max_open)
        for z, history in enumerate(self.histories):
            for kind, group, passage in history.changes(groups[z]):
                lack = lacking(groups[z].held, group.held)
                if kind == VICTIM or NO_ACTIVE in lack and no_active:
                    continue
                after = (*groups[:z], group, *groups[z + 1:])
                if NO_OPEN in lack and no_open:
                    for v, closed, other in self.victims(groups, z):
                        yield self.refuse((*after[:v], closed, *after[v + 1:]),
                                          [(v, other), (z, passage)])
                else:
                    yield self.refuse(after, [(z, passage)])

    def victims(self, groups, z):
        for v, history in enumerate(self.histories):
            if v != z and groups[v].held == IOPEN:
                for kind, group, passage in history.changes(groups[v]):
                    if kind == VICTIM:
                        yield v, group, passage

    def find(self):
        """What has happened in each zone, None if there is no order"""
        path, seen = [], set()
        stack = [iter([self.refuse([h.first for h in self.histories], [])])]
        while stack:
            move = next(stack[-1], None)
            if not move:
                stack.pop()
                if path:
                    path.pop()
                continue
            groups, passages = move
            if groups in seen:
                continue
            seen.add(groups)
            if len(seen) > ORDERS:
                raise Wrong('too many orders to try')
            path.append(passages)
            stack.append(self.moves(groups))
            if all(h.end_in(g) for h, g in zip(self.histories, groups)):
                tell_largest('orders of zones', len(seen))
                return [history.trace(groups[z], [p for passages in path
                                                  for n, p in passages if n == z])
                        for z, history in enumerate(self.histories)]
        return None


def explain(disk, ops, report, error, read):
    """
    Find what has happened when @ops were in flight together and have led to @report,
    (state, write pointer) of each zone, and let it happen to @disk.  @error has the
    status that the front end has for an error, @read what a zone has.
    """
    rules, of_zone = disk.rules, [[] for _ in disk.zones]
    for op in ops:
        for i in (range(rules.conventional, len(of_zone)) if op.kind.endswith('-all')
                  else [op.zone]):
            of_zone[i].append(op)
    histories, others, done = [], [], []
    for i, zone in enumerate(disk.zones):
        if zone.state == CONV:
            done.append(conventional(disk, i, of_zone[i], error))
            continue
        if not of_zone[i] and is_reported(zone.state, zone.wp, report[i]):
            others.append(held(zone.state))
            continue
        history = ZoneHistory(disk, i, of_zone[i], report[i], error, read)
        if history.is_still():
            others.append(history.first.held)
            done.append(history.trace(history.first, []))
        else:
            histories.append(history)
    if is_crowded(rules, histories, others):
        done += Order(rules, histories, others).find() or no_order(disk, report)
    else:
        for history in histories:
            done += Order(rules, [history], []).find() or no_order(disk, report)
    disk.happened(done, ops)


def conventional(disk, i, ops, error):
    """Operations on it change no state, and do not overlap."""
    for op in ops:
        errors, _ = disk.outcome(i, CONV, 0, op)
        if op.status not in ({error(op, name) for name in errors} or {'ok'}):
            raise Wrong(f'conventional zone: {op}')
    return i, [(op, CONV, 0) for op in ops]


def is_crowded(rules, histories, others):
    """Can it matter to a zone what others hold?"""
    if any(history.refused for history in histories):
        return True
    for states, limit in ((OPEN, rules.max_open), (ACTIVE, rules.max_active)):
        most = sum(state in states for state in others) + \
            sum(history.may_be(states) for history in histories)
        if limit and most > limit:
            return True
    return False


def no_order(disk, report):
    raise Wrong('no order of these operations explains the answers and the zones after '
                f'them\nbefore: {describe_zones((z.state, z.wp) for z in disk.zones)}\n'
                f'after: {describe_zones(report)}')
