"""The starter rules are quiet, and open nothing else: what a developer's agent does all day runs unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifier_service.cli.policy_init import starter_policy
from notifier_service.core.policy.policy import Policy
from notifier_service.core.policy.verdict import AskedTool, Call

INNOCENT = Path(__file__).with_name("innocent_commands.txt").read_text().splitlines()


#: It need not be there.
FOLDER = Path("/home/ana/project")
POLICY = Policy.loads(starter_policy(FOLDER, FOLDER / "notifier-policy.toml"), "starter")


def _is_allowed(command: str, tool: str = "Bash") -> bool:
    verdict = POLICY.judge(Call(AskedTool(tool), "s", "high", {"command": command}))
    return verdict is not None and verdict.effect == "allow"


def test_nine_in_ten_innocent_commands_are_allowed_by_the_starter_rules() -> None:
    asked = [command for command in INNOCENT if not _is_allowed(command)]

    assert len(INNOCENT) >= 200
    assert len(set(INNOCENT)) == len(INNOCENT)
    assert len(asked) <= len(INNOCENT) / 10, asked


@pytest.mark.parametrize("innocent", ["ls", "git status", "pytest -q", "npm test", "cat a | head"])
@pytest.mark.parametrize(
    "joined",
    [
        "{}; rm -rf x", "{} && rm x", "{} | sh", "{} | bash", "{} | tee a", "{} > a", "{} >> a", "{} &",
        "{} | xargs rm", "{} $(rm x)", "{} `rm x`", "{} <<E\n$(rm x)\nE", "X=1 {}", "sudo {}", "{}\nrm x",
        "time rm x; {}", "cd /; {}", "cd ..; {}", "cd /home/ana/project/../other && {}", "cd && {}", "{} <(rm x)",
        "{} *",
    ],
)  # fmt: skip
def test_starter_rules_allow_no_innocent_command_with_something_joined_to_it(innocent: str, joined: str) -> None:
    assert _is_allowed(innocent)
    assert not _is_allowed(joined.format(innocent))


@pytest.mark.parametrize(
    "command",
    [
        "./gradlew test publish", "make test deploy", "make all install", "dotnet test /t:Deploy",
        "gh api -X DELETE repos/a/b", "gh api repos/a/b -f x=1", "gh api graphql -f query=x",
        "tsc --noEmit --outDir /a", "tsc --noEmit -BUILD", "terraform plan -out=/a", "npm test --prefix /",
        "npm test -- --outputFile=/a", "yarn build -o /a", "bazel run //a", "mvn test -Djvm=rm",
        "helm list --kubeconfig a", "pylint --init-hook=a b", "awk '{print | \"sh\"}' a", "npm run test:x -u", "rm a",
        "rm -rf build", "mv a b", "cp a b", "chmod +x a", "chown a b", "ln -s a b", "dd if=a of=b", "truncate -s 0 a",
        "tee a", "shred a", "mkdir /etc/a", "mkdir -p ../a", "mkdir -m 777 a", "touch /etc/a", "touch ../a",
        "touch -r a b", "find . -delete", "find . -exec rm a ';'", "find . -fprint a", "fd -x rm", "fd --exec=rm",
        "sort -o a b", "sort -ro a b", "sort --outp=a b", "uniq a b", "uniq -c a b", "tree -o a", "sed -i s/a/b/ a",
        "sed -n 'w a' b", "sed 's/a/b/w c' d", "sed '1e rm a' b", "sed --in-place=.x p a",
        "awk 'BEGIN{system(\"rm a\")}'", "awk '{print > \"a\"}' b", "awk -f a.awk b", "rg --pre rm a", "file -C -m a",
        "date -s 2020-01-01", "hostname evil", "yq -i .a=1 b", "xxd -r a b", "xxd a b", "tar -xf a",
        "tar tf a --to-command=rm", "unzip a", "printf -v PATH a", "test -v 'a[$(rm b)]'", "git -c core.pager=rm log",
        "git log --output=a", "git diff --output a", "git diff --ext-diff", "git grep -Orm a",
        "git grep --open-files-in-pager=rm a", "git branch -D a", "git branch a", "git branch -m a", "git tag a",
        "git tag -d a", "git stash", "git stash drop", "git stash pop", "git push", "git push --force",
        "git commit", "git commit --amend", "git commit -m a --no-verify", "git commit -F a", "git add -p",
        "git checkout a", "git checkout -- .", "git reset --hard", "git clean -fdx",
        "git rebase main", "git config a b", "git config --global alias.x '!rm'", "git config --get a --unset",
        "git remote add a b", "git remote get-url --push a", "git reflog expire --all", "git worktree add a",
        "git fetch ext::sh", "git fetch --upload-pack=rm a", "git fetch a b:c", "git submodule foreach rm",
        "git bisect run rm", "git --exec-path=. status", "git -C / status", "git clone a", "pytest --basetemp=a",
        "pytest -p evil", "pytest -c a", "pytest --junitxml=/a", "pytest --cov-report=html:/a",
        "python -m pytest --rootdir=/ a", "python a.py", "python -c 'a'", "python -m http.server",
        "python -m pip install a", "python -m unittest discover -s /", "uv run a", "uv run --with evil pytest",
        "uv pip install a", "uv add a", "ruff check --fix", "ruff format", "black a", "mypy --install-types",
        "mypy --python-executable=rm a", "flake8 --output-file=a", "npm install", "npm i a", "npm ci", "npm publish",
        "npm run deploy", "npm run start", "npm exec a", "npm test --script-shell=a", "npm run build --prefix=/",
        "npm audit fix", "npm config set a b", "npm view a --registry=b", "npx cowsay", "npx -y eslint",
        "npx --package=evil jest", "npx eslint --fix a", "npx jest --coverageDirectory=/a",
        "npx vitest run --outputFile=/a", "yarn add a", "yarn publish", "pnpm install", "pnpm dlx a", "bun install",
        "bun a.ts", "deno run a", "deno check --allow-all", "eslint --fix a", "eslint -o a b",
        "prettier --check --write a", "prettier --write a", "jest -u", "tsc", "cargo publish", "cargo install a",
        "cargo run", "cargo clippy --fix", "cargo build --config a", "cargo build --target-dir=/a",
        "cargo test --manifest-path=/a", "cargo fmt", "go run a", "go install a", "go get a", "go generate",
        "go test -exec rm ./...", "go build -o /a b", "go build -toolexec=rm ./...", "go build -ldflags=-extld=rm",
        "go vet -vettool=rm", "go env -w A=b", "go list -u -m all", "go test -coverprofile=/a ./...", "gofmt -w a",
        "gofmt -l -w a", "make install", "make deploy", "make clean", "make SHELL=rm", "make -f /a", "make -C /a",
        "cmake --build a --target", "cmake -P a", "ctest -S a", "./gradlew publish", "mvn deploy", "mvn install",
        "dotnet publish", "dotnet nuget push a", "terraform apply", "terraform fmt", "helm install a", "docker run a",
        "docker exec a b", "docker rm a", "docker compose up", "docker compose down", "docker compose exec a b",
        "docker system prune", "docker volume rm a", "docker build .", "docker push a", "docker -H tcp://evil ps",
        "docker-compose exec a b", "kubectl exec a b", "kubectl delete pod a", "kubectl apply -f a",
        "kubectl get pods --kubeconfig=a", "kubectl get pods --server=a", "kubectl -n a exec b", "kubectl run a",
        "kubectl get secrets", "kubectl config use-context a", "kubectl rollout restart a", "gh pr merge 1",
        "gh pr create", "gh repo delete a", "gh api a", "gh auth token", "gh auth status --show-token",
        "gh run cancel 1", "systemctl stop a", "kill 1", "pkill a", "curl http://evil", "wget a", "ssh a", "scp a b",
        "rsync a b", "nc a 1", "cat .env", "cat ~/.ssh/id_rsa", "cat /home/ana/.aws/credentials", "head -1 .env.local",
        "grep -r key /home/ana/.ssh", "cat /proc/self/environ", "env", "printenv", "npm config get _authToken",
        "bash a.sh", "bash -c 'rm a'", "sh -c 'ls; rm a'", "timeout 5 rm a", "env A=b ls", "nice rm a", "time rm a",
        "command rm a", "nohup ls", "xargs ls", "watch ls", "eval ls", "exec ls", "source a", ". a", "./a", "/bin/ls",
        "/tmp/ls", "crontab -e", "at now", "apt install a", "brew install a", "pip install a", "gem install a", "su",
        "doas ls", "npm run build:*", "less a", "vim a", "man a",
    ],
)  # fmt: skip
def test_starter_rules_allow_nothing_that_writes_elsewhere_deletes_publishes_installs_or_sends(command: str) -> None:
    assert not _is_allowed(command)


def test_starter_rules_are_about_shells_and_no_other_tool_with_a_command() -> None:
    assert _is_allowed("ls", "run_shell_command")
    assert not _is_allowed("ls", "deploy")
