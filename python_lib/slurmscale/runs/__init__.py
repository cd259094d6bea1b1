"""All that starts a playbook: a run, from the request to its recorded end; a question to a cluster; a job on one."""
