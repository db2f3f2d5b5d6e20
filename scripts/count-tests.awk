# Sums what test runners say at their end: prints `PASSED FAILED`. Reads the output of any of
#   nextest:       Summary [   0.1s] 12 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 0 skipped
#   cargo test:    test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out
#   our scripts:   3 passed, 0 failed
{ gsub(/\033\[[0-9;]*m/, "") } # colours
/^ *Summary \[/ || /^test result: / || /^[0-9]+ passed, [0-9]+ failed$/ {
    for (i = 2; i <= NF; i++) {
        word = $i
        gsub(/[^a-z]/, "", word)
        if (word == "passed") passed += $(i - 1)
        # "1 exec failed" counts once: before its "failed" stands no number.
        if (word == "failed" || word == "exec" || word == "timed") failed += $(i - 1)
    }
}
END { print passed + 0, failed + 0 }
