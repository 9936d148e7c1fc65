"""docs/backup.md, verbatim, on a server that has orders: what is restored starts and knows everything."""
import os
import unittest

import lab
import test_docs

CSV = "iccid,imsi,ki,opc\n89000000000000000012,001010000000001,{0},{0}\n89000000000000000020,001010000000002,{0},{0}\n".format("00" * 16)


class Backup(unittest.TestCase):
    def test_backup_and_restore(self):
        world = lab.World()
        work = lab.temporary()
        (work / "subscriptions.csv").write_text(CSV)
        lab.run("keyferry", "profile", "sample", "--out", work / "sample.der")
        lab.run("keyferry", "profile", "import", "-c", world.config, "--owner", "2.999.10", "--template", work / "sample.der", "--csv",
                work / "subscriptions.csv")
        world.serve()
        world.sim("--euiccs", "2")
        order = ["keyferry-sim", "operator", "order", "--pki", world.dir / "pki", "--port", world.operator, "--type",
                 "Keyferry sample profile", "--smdp-url", f"https://127.0.0.1:{world.es2}/es2", "--eid"]
        lab.run(*order, lab.run("keyferry-sim", "eid", "0").stdout.strip())
        listed = lab.run("keyferry", "profile", "list", "--rows", "-c", world.config).stdout
        self.assertIn("89000000000000000012 installed", listed)

        # As the page says, with the server running.
        (work / "var").symlink_to(world.dir)
        shell = test_docs.Shell(work, {**os.environ, "PATH": f"{lab.BIN}:{os.environ['PATH']}"})
        said = []
        for line, language, marker, text in test_docs.blocks(lab.SOURCE / "docs" / "backup.md"):
            if language == "sh":
                self.assertEqual(marker, "")
                status, out = shell.run(text)
                said.append(out)
                self.assertEqual(status, 0, out)
        self.assertEqual(len(said), 2)
        shell.end()
        world.server.end()

        # What was there before is gone; what was restored serves, knows what was installed, and takes the next order.
        for part in ("store.db", "token", "pki", "smdp.toml"):
            (world.dir / part).rename(world.dir / ("lost-" + part))
        world.dir = world.dir / "restored"
        world.config = world.dir / "smdp.toml"
        self.assertEqual(lab.run("keyferry", "profile", "list", "--rows", "-c", world.config).stdout, listed)
        world.serve()
        order[order.index("--pki") + 1] = world.dir / "pki"
        lab.run(*order, lab.run("keyferry-sim", "eid", "1").stdout.strip())
        self.assertIn("89000000000000000020 installed", lab.run("keyferry", "profile", "list", "--rows", "-c", world.config).stdout)
        self.assertEqual(world.server.end(), 0)


if __name__ == "__main__":
    unittest.main()
