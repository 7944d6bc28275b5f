from .annotations.measuring.measure import measure as measure
from .encoders import list_encoders as list_encoders
from .encoders.text.loading import load_text_model as load_text_model
from .heads import list_heads as list_heads
from .heads import load_head as load_head
from .predict import classify_by_text as classify_by_text
from .predict import find_similar as find_similar
from .predict import import_head as import_head
from .predict import load_model as load_model
from .predict import segment as segment
from .predict import segment_everything as segment_everything
from .predict import segment_instances as segment_instances
from .predict import text_prompt as text_prompt
from .training import evaluate as evaluate
from .training import train as train
from .training.prompts.adaptation.dataset import adapt as adapt

__version__: str
__all__: list[str]
