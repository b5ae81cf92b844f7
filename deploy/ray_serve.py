"""The server as a deployment of Ray Serve: ``serve run
deploy.ray_serve:build``, with the options of ``serve`` as ``name=value``."""

from ray import serve

from deploy.ray_options import parse
from speechbrain_llsa_runtime.commands.serve import make_service
from speechbrain_llsa_runtime.commands.sessions import load_sessions
from speechbrain_llsa_runtime.server.application import make_application

FULLNESS = 0.75
"""Share of the slots that are taken where another replica is started."""


def build(options):
    """Makes the application.

    Arguments
    ---------
    options : dict of str to object
        As for :func:`deploy.ray_options.parse`.

    Returns
    -------
    ray.serve.Application

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If an option is not allowed.
    """
    arguments = parse(options)

    def make_replica_application():
        return make_application(
            make_service(arguments, load_sessions(arguments))
        )

    return serve.deployment(
        serve.ingress(make_replica_application)(Replica),
        name="speechbrain_llsa",
        max_ongoing_requests=arguments.slots,
        autoscaling_config={
            "min_replicas": arguments.fewest_replicas,
            "max_replicas": arguments.most_replicas,
            "target_ongoing_requests": arguments.slots * FULLNESS,
            "downscale_delay_s": 600,
        },
        graceful_shutdown_timeout_s=arguments.drain,
        ray_actor_options={"num_cpus": arguments.cpus},
    ).bind()


class Replica:
    """What Ray asks of a replica beside its application."""

    def check_health(self):
        """Tells Ray to replace a replica whose engine has stopped.

        Raises
        ------
        RuntimeError
            If it has.
        """
        if not self.app.state.service.engine.alive:
            raise RuntimeError("the engine has stopped")
