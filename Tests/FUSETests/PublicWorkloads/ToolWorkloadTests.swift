// SPDX-License-Identifier: GPL-2.0
// What people do in their directories: git, rsync, tar, and building a program.

internal import TestSupport
internal import Testing

extension PublicWorkloadTests {
  private static let git = NeededPrograms("git")

  /// Commits, branches, packs and clones; all objects are there, and a checkout is what was put in.
  @Test(.enabled(if: git.areThere, git.comment), arguments: settings("lz4"))
  func gitFindsAllObjectsOfItsRepositories(setting: Setting) throws {
    try expectWork(
      setting,
      """
      export HOME=$ELSEWHERE GIT_CONFIG_NOSYSTEM=1
      git config --global user.name tester
      git config --global user.email tester@example.org
      git config --global protocol.file.allow always
      git config --global gc.auto 0
      git init -q -b main origin
      cd origin
      RANDOM=1
      for round in $(seq $COMMITS); do
        for file in 1 2 3 4 5 6 7 8; do
          folder=d$((RANDOM % 10))/e$((RANDOM % 3))
          mkdir -p $folder
          seq $round $((RANDOM % 3000)) >$folder/f$((RANDOM % 20))
        done
        ln -sf d$round link.$((round % 5))
        [ $((round % 7)) != 0 ] || git rm -q -r --ignore-unmatch d$((RANDOM % 10))
        git add -A
        git commit -q -m "round $round"
        [ $((round % 5)) != 0 ] || git tag -a -m tag v$round
        [ $round != $((COMMITS / 2)) ] || git repack -q
      done
      git checkout -q -b side HEAD~4
      echo side >side-file
      git add -A && git commit -q -m side
      git checkout -q main
      git merge -q -m merge side
      git fsck --strict --full --no-progress
      git gc -q --aggressive --prune=now
      git fsck --strict --full --no-progress
      git worktree add -q ../worktree side
      cd ..
      git clone -q origin by-links
      git clone -q "file://$PWD/origin" by-protocol
      git clone -q --bare --no-hardlinks origin bare.git
      for name in by-links by-protocol bare.git; do
        git -C $name fsck --strict --full --no-progress
        [ "$(git -C $name rev-parse main)" = "$(git -C origin rev-parse main)" ]
      done
      diff -r --exclude=.git --no-dereference origin by-links
      diff -r --exclude=.git --no-dereference origin by-protocol
      [ -z "$(git -C origin status --porcelain)$(git -C worktree status --porcelain)" ]
      cd by-protocol
      echo more >more && git add -A && git commit -q -m more && git push -q ../bare.git main
      git reset -q --hard HEAD~3 && git pull -q ../bare.git main
      [ -e more ]
      """, ["COMMITS": runsLongTests ? "400" : "12"])
  }

  private static let rsync = NeededPrograms("rsync", "python3")
  /// A tree of everything that a filesystem must keep; without a hole of a terabyte, which not
  /// every program leaves out.
  private static let makeTree = """
    python3 "$SCRIPTS/mktree.py" tree --files $FILES --age $FILES >/dev/null 2>&1
    [ ! -e tree/sparse ] || truncate -s 3M tree/sparse
    manifest() { python3 "$SCRIPTS/manifest.py" "$1"; }

    """
  private static let treeVariables = [
    "SCRIPTS": KernelGuest.scripts, "FILES": runsLongTests ? "6000" : "150",
  ]

  /// A second run finds nothing to do, not even by contents; what was changed is found.
  @Test(.enabled(if: rsync.areThere, rsync.comment), arguments: settings("two replicas"))
  func rsyncFindsNothingToDoTwice(setting: Setting) throws {
    try expectWork(
      setting,
      Self.makeTree + """
        sync_trees() {
          rsync -aHAXS --numeric-ids --modify-window=-1 --delete --itemize-changes "$@" tree/ copy/
        }
        sync_trees >/dev/null
        diff <(manifest tree) <(manifest copy)
        none() { [ -z "$1" ] || { echo "$1"; exit 1; }; }
        none "$(sync_trees)"
        none "$(sync_trees --checksum)"
        for round in $(seq $ROUNDS); do
          echo "more $round" >>tree/big/text
          dd if=/dev/urandom of=tree/big/random bs=3000 count=5 seek=$round conv=notrunc 2>/dev/null
          rm -rf "tree/many/d0$((round % 10))"
          mv tree/sizes "tree/sizes-$round" && mkdir tree/sizes
          touch -d @$((round * 1000)) tree/links
          if [ $((round % 2)) = 0 ]; then
            [ -n "$(sync_trees --inplace --no-S --no-whole-file)" ]
          else
            [ -n "$(sync_trees --no-whole-file)" ]
          fi
          diff <(manifest tree) <(manifest copy)
          none "$(sync_trees --checksum)"
          mv "tree/sizes-$round"/* tree/sizes/ && rmdir "tree/sizes-$round"
        done
        sync_trees --link-dest="$PWD/tree" >/dev/null
        """, Self.treeVariables.merging(["ROUNDS": runsLongTests ? "20" : "2"]) { $1 })
  }

  private static let tar = NeededPrograms("tar", "python3", "gzip")

  @Test(.enabled(if: tar.areThere, tar.comment), arguments: settings("zstd, xxhash"))
  func tarBringsATreeThereAndBack(setting: Setting) throws {
    try expectWork(
      setting,
      Self.makeTree + """
        keep="--xattrs --xattrs-include=* --acls --sparse --numeric-owner --format=posix"
        pack() { tar $keep -C "$1" -cf - . 2> >(grep -v 'socket ignored' >&2); }
        # an archive holds no sockets
        find tree -type s -delete
        for round in $(seq $ROUNDS); do
          pack tree >tree.tar
          tar $keep -C tree --compare -f tree.tar
          mkdir copy
          tar $keep -C copy -xpf tree.tar
          diff <(manifest tree) <(manifest copy)
          tar $keep -C copy --compare -f tree.tar
          # there and back by a pipe, compressed, from elsewhere
          pack copy | gzip -1 >"$ELSEWHERE/tree.tar.gz"
          mkdir back
          tar $keep -C back -xzpf "$ELSEWHERE/tree.tar.gz"
          diff <(manifest tree) <(manifest back)
          rm -rf tree copy
          mv back tree
        done
        """, Self.treeVariables.merging(["ROUNDS": runsLongTests ? "10" : "1"]) { $1 })
  }

  private static let compiler = NeededPrograms("cc", "ar", "make", "python3")

  /// A library and its test: built by two jobs at once, tested; make then knows by times what is
  /// new, and a second build gives the same bytes.
  @Test(
    .enabled(if: compiler.areThere, compiler.comment),
    arguments: settings("gzip, blocks of 4 KiB"))
  func aProgramIsBuiltAndPassesItsTests(setting: Setting) throws {
    try expectWork(
      setting,
      """
      cat >"$ELSEWHERE/generate.py" <<'END'
      import os
      count = int(os.environ['MODULES'])
      os.makedirs('source')
      def put(name, text): open('source/' + name, 'w').write(text)
      put('common.h', '#include <stdint.h>\\n#define STEP 3u\\n' +
        ''.join(f'uint32_t module_{n}(uint32_t);\\n' for n in range(count)))
      for n in range(count):
        put(f'own_{n}.h', f'#define OWN {n * 7 + 1}u\\n')
        cases = ''.join(f'    case {c}: x = x * {c + 2}u + OWN; break;\\n' for c in range(60))
        put(f'module_{n}.c', f'#include "common.h"\\n#include "own_{n}.h"\\n'
          f'uint32_t module_{n}(uint32_t x) {{\\n  for (int i = 0; i < 9; i++) {{\\n'
          f'    switch (x % 60) {{\\n{cases}    }}\\n    x += STEP;\\n  }}\\n  return x;\\n}}\\n')
      def module(n, x):
        for i in range(9):
          x = (x * (x % 60 + 2) + n * 7 + 1 + 3) & 0xffffffff
        return x
      tests = ''.join(f'  bad += module_{n}({n}u) != {module(n, n)}u;\\n' for n in range(count))
      put('test.c', '#include "common.h"\\n#include <stdio.h>\\nint main(void) {\\n'
        f'  int bad = 0;\\n{tests}  printf("%d bad\\\\n", bad);\\n  return bad != 0;\\n}}\\n')
      put('Makefile', 'objects = ' + ' '.join(f'module_{n}.o' for n in range(count)) + '''
      CFLAGS = -O1 -g -Wall -Werror -MMD
      test: test.o libmodules.a
      \\t$(CC) -o $@ test.o -L. -lmodules
      libmodules.a: $(objects)
      \\trm -f $@
      \\tar rcD $@ $(objects)
      check: test
      \\t./test
      clean:
      \\trm -f *.o *.d *.a test
      -include *.d
      ''')
      END
      python3 "$ELSEWHERE/generate.py"
      cd source
      # within another make, make would say its depth and take that one's settings
      unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL
      none() { [ -z "$1" ] || { echo "$1"; exit 1; }; }
      compiled() { make -j2 2>&1 | grep -c -- ' -c ' || true; }
      [ "$(compiled)" = $((MODULES + 1)) ]
      [ "$(make -s check)" = '0 bad' ]
      [ "$(make)" = "make: 'test' is up to date." ]
      touch own_1.h
      [ "$(compiled)" = 1 ]
      [ "$(make -s check)" = '0 bad' ]
      cp test "$ELSEWHERE/test" && cp libmodules.a "$ELSEWHERE/"
      make -s clean
      none "$(ls | grep -E '[.](o|d|a)$' || true)"
      make -s -j2 check >/dev/null
      cmp test "$ELSEWHERE/test" && cmp libmodules.a "$ELSEWHERE/libmodules.a"
      strip -o stripped test && ./stripped
      """, ["MODULES": runsLongTests ? "800" : "24"])
  }
}
