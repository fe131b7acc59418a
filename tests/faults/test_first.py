def test_x(installation):
    n = installation.submit("main", values={"trial_text": "{{ lookup('pipe','touch /tmp/CANARY') }}"})
    run = installation.ended(n)
    for e in installation.events(n): print(e.number, e.type, e.step, e.host, e.role, e.name, e.seconds, e.data)
    print(run.state, run.error, run.next_step, run.started_at, run.ended_at, run.roles_version, [(s.host, s.state, s.ok, s.changed, s.skipped) for s in run.servers])
    assert run.state == "succeeded"
    installation.gone(n)
