"""Tasks of the worker."""

from celery import shared_task

from .models import Order


@shared_task
def confirm(number):
    """Confirms the order with this number."""
    Order.objects.filter(pk=number).update(is_confirmed=True)
