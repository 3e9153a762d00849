// SPDX-License-Identifier: GPL-2.0
// A database: SQLite, by the sqlite3 of Python.

internal import TestSupport
internal import Testing

extension PublicWorkloadTests {
  private static let python = NeededPrograms("python3")

  /// Writes from several processes and dies in one, in each kind of journal.
  private static let load = """
    import multiprocessing, os, random, signal, sqlite3
    rows, steps, writers = 300, int(os.environ['STEPS']), 3

    def connect(path, setting):
      base = sqlite3.connect(path, timeout=60, isolation_level=None)
      for line in setting: base.execute('pragma ' + line)
      return base

    def write(path, setting, seed):
      chance, base = random.Random(seed), connect(path, setting)
      for step in range(steps):
        base.execute('begin immediate')
        a, b = chance.sample(range(rows), 2)
        amount = chance.randrange(1000)
        base.execute('update account set amount = amount - ? where id = ?', (amount, a))
        base.execute('update account set amount = amount + ? where id = ?', (amount, b))
        if step % 5 == 4:
          base.execute('rollback')
          continue
        base.execute('insert into log values (?, ?, ?)',
          (seed, step, chance.randbytes(chance.choice([10, 500, 9000]))))
        base.execute('delete from log where writer = ? and step = ?', (seed, step - 40))
        base.execute('commit')
      base.close()

    def die(path, setting):
      base = connect(path, setting)
      base.execute('pragma cache_spill = 4')
      base.execute('begin immediate')
      base.execute('update account set amount = 7, note = randomblob(3000)')
      os.kill(os.getpid(), signal.SIGKILL)

    def check(path, setting):
      base = connect(path, setting)
      assert base.execute('pragma integrity_check').fetchall() == [('ok',)], path
      assert base.execute('select sum(amount), count(*) from account').fetchone() == \\
        (rows * 1000, rows), path
      last = [step for step in range(steps) if step % 5 != 4][-1]
      for seed in range(writers):
        assert base.execute('select max(step) from log where writer = ?', (seed,)) \\
          .fetchone() == (last,), (path, seed)
      base.close()

    for mode in ['wal', 'delete', 'truncate', 'persist', 'memory mapped']:
      setting = ['mmap_size = 67108864', 'journal_mode = wal'] if ' ' in mode else \\
        ['journal_mode = ' + mode]
      setting.append('synchronous = ' + ('full' if mode == 'delete' else 'normal'))
      path = mode.replace(' ', '-') + '.db'
      base = connect(path, ['page_size = 1024' if mode == 'truncate' else 'page_size = 4096']
        + setting)
      base.execute('create table account (id integer primary key, amount integer, note blob)')
      base.execute('create table log (writer integer, step integer, data blob)')
      base.execute('create unique index log_index on log (writer, step)')
      base.execute('begin')
      base.executemany('insert into account values (?, 1000, zeroblob(100))',
        [(id,) for id in range(rows)])
      base.execute('commit')
      base.close()
      work = [multiprocessing.Process(target=write, args=(path, setting, seed))
        for seed in range(writers)]
      work.append(multiprocessing.Process(target=die, args=(path, setting)))
      for process in work: process.start()
      for process in work: process.join()
      assert [process.exitcode for process in work] == [0] * writers + [-9], mode
      check(path, setting)
      base = connect(path, setting)
      base.execute('vacuum')
      base.execute("vacuum into 'copy-of-" + path + "'")
      base.close()
      check(path, setting)
      check('copy-of-' + path, setting)
    """

  /// Several processes move amounts between accounts, in each kind of journal; one of them dies in
  /// the middle. Sums stay, indices agree with tables, and nothing is lost that was committed.
  @Test(.enabled(if: python.areThere, python.comment), arguments: settings("encrypted"))
  func sqliteLosesNothingInAnyKindOfJournal(setting: Setting) throws {
    try expectWork(
      setting,
      """
      cat >"$ELSEWHERE/load.py" <<'END'
      \(Self.load)
      END
      python3 "$ELSEWHERE/load.py"
      """, ["STEPS": runsLongTests ? "2000" : "20"])
  }
}
